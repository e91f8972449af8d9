/*
 * route.c: opens a session in a slot of a cluster.
 *
 * A database that is not the slot would accept a call for any tenant, and store
 * it where nobody looks for it. So a new session asks the database first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "db/map.h"
#include "db/route.h"

static const char check_sql[] = "SELECT msgstore._check_slot_here(NULL, "
								"$1::int)";

static bool follow_map(Session *session, const char *name, LogLevel level);
static char *find_connection(Session *session, LogLevel level);
static bool check_slot(Session *session, LogLevel level);
static void log_failure(const Session *session,
						LogLevel level,
						const QueryOutcome *outcome);

bool
route_open(Session *session, const char *name, LogLevel level)
{
	if (!session_open(session, name, level))
		return false;
	if (session->config->slot < 0)
		return true;
	if (session->router && !follow_map(session, name, level))
		return false;
	if (check_slot(session, level))
		return true;
	session_close(session);
	return false;
}

/* From a session on the router to one in the slot. */
static bool
follow_map(Session *session, const char *name, LogLevel level)
{
	char *connection = find_connection(session, level);
	bool opened;

	session_close(session);
	if (connection == NULL)
		return false;
	session->conninfo = connection;
	opened = session_open(session, name, level);
	session->conninfo = NULL;
	free(connection);
	return opened;
}

static char *
find_connection(Session *session, LogLevel level)
{
	QueryOutcome outcome = session_query(session, map_sql, 0, NULL);
	SlotMap *map = NULL;
	char *connection = NULL;

	if (outcome.sqlstate[0] == '0' && PQntuples(outcome.result) == 1)
		map = map_parse(PQgetvalue(outcome.result, 0, 0));
	if (map == NULL)
		log_failure(session, level, &outcome);
	else if (session->config->slot >= map_slots(map))
		log_event(session->log,
				  level,
				  "slot %ld does not exist: the cluster has %d slots",
				  session->config->slot,
				  map_slots(map));
	else
		connection = map_join_connection(
			session->config->conninfo,
			map_connection(map, (int) session->config->slot));
	map_free(map);
	PQclear(outcome.result);
	return connection;
}

static bool
check_slot(Session *session, LogLevel level)
{
	char number[16];
	const char *values[] = {number};
	QueryOutcome outcome;
	bool done;

	snprintf(number, sizeof(number), "%ld", session->config->slot);
	outcome = session_query(session, check_sql, 1, values);
	done = PQresultStatus(outcome.result) == PGRES_TUPLES_OK;
	if (!done)
		log_failure(session, level, &outcome);
	PQclear(outcome.result);
	return done;
}

static void
log_failure(const Session *session, LogLevel level, const QueryOutcome *outcome)
{
	const char *message =
		PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_PRIMARY);

	log_event(session->log,
			  level,
			  "could not connect to slot %ld: %s",
			  session->config->slot,
			  message != NULL ? message : "no answer");
}

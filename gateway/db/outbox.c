/*
 * outbox.c: the session in which a sender claims messages and reports.
 *
 * A claim whose answer was lost may have succeeded. The next one uses another
 * id, so that heartbeats do not renew those unknown leases, which then expire.
 * An id is never used by two processes: the process ids of containers are all
 * alike, so a random number is part of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "clock.h"
#include "db/outbox.h"
#include "db/route.h"

/* While the database is away, attempts back off from the first to the max. */
#define REST_FIRST_US (SECOND_US / 10)
#define REST_MAX_US (5 * SECOND_US)

static const char listen_sql[] = "LISTEN msgstore_outbox";
/* A heartbeat is due three times in a lease. */
static const char heartbeat_sql[] =
	"SELECT msgstore.heartbeat_outbound($1),"
	" (extract(epoch FROM current_setting('msgstore.claim_timeout')::interval)"
	" * 1000000 / 3)::bigint";

static void close_session(Outbox *outbox);
static bool is_passing(const char *sqlstate);

bool
outbox_init(Outbox *outbox,
			const Config *config,
			Log *log,
			const char *prefix,
			const atomic_bool *stopping)
{
	char host[64] = "localhost";
	uint32_t number;

	memset(outbox, 0, sizeof(*outbox));
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return false;
	gethostname(host, sizeof(host) - 1);
	snprintf(outbox->name,
			 sizeof(outbox->name),
			 "%s:%ld:%08x",
			 host,
			 (long) getpid(),
			 number);
	snprintf(outbox->id, sizeof(outbox->id), "%s", outbox->name);
	outbox->number = 1;
	outbox->log = log;
	outbox->prefix = prefix;
	outbox->rest_us = REST_FIRST_US;
	outbox->session =
		(Session){.config = config, .log = log, .stopping = stopping};
	pthread_mutex_init(&outbox->mutex, NULL);
	return true;
}

void
outbox_free(Outbox *outbox)
{
	session_close(&outbox->session);
	pthread_mutex_destroy(&outbox->mutex);
}

/* Listens before the first claim, so that no message is missed. */
bool
outbox_connect(Outbox *outbox)
{
	Session session = outbox->session;
	bool opened;

	if (session.pg != NULL)
		return true;
	opened = route_open(&session,
						"msgstore-sender",
						outbox->troubled ? LOG_DEBUG : LOG_ERROR);
	pthread_mutex_lock(&outbox->mutex);
	outbox->session = session;
	pthread_mutex_unlock(&outbox->mutex);
	if (!opened)
		return false;
	outbox->heartbeat_us = 0;
	if (outbox_call(outbox, listen_sql, 0, NULL, NULL) == OUTBOX_DONE &&
		outbox_heartbeat(outbox) == OUTBOX_DONE)
		return true;
	close_session(outbox);
	return false;
}

bool
outbox_is_connected(const Outbox *outbox)
{
	return outbox->session.pg != NULL;
}

static void
close_session(Outbox *outbox)
{
	Session session = outbox->session;

	pthread_mutex_lock(&outbox->mutex);
	outbox->session.pg = NULL;
	outbox->session.cancel = NULL;
	pthread_mutex_unlock(&outbox->mutex);
	session_close(&session);
}

void
outbox_cancel(Outbox *outbox)
{
	char ignored[256];

	pthread_mutex_lock(&outbox->mutex);
	if (outbox->session.cancel != NULL)
		PQcancel(outbox->session.cancel, ignored, sizeof(ignored));
	pthread_mutex_unlock(&outbox->mutex);
}

OutboxResult
outbox_claim(Outbox *outbox, const char *sql, int most, PGresult **rows)
{
	char limit[16];
	const char *values[] = {outbox->id, limit};
	OutboxResult result;

	if (outbox->strays)
		snprintf(outbox->id,
				 sizeof(outbox->id),
				 "%s:%d",
				 outbox->name,
				 ++outbox->number);
	outbox->strays = false;
	snprintf(limit, sizeof(limit), "%d", most);
	result = outbox_call(outbox, sql, 2, values, rows);
	if (result != OUTBOX_DONE)
		outbox->strays = outbox->session.pg == NULL;
	return result;
}

OutboxResult
outbox_heartbeat(Outbox *outbox)
{
	const char *values[] = {outbox->id};
	PGresult *rows;
	OutboxResult result;

	if (clock_us() < outbox->heartbeat_us)
		return OUTBOX_DONE;
	result = outbox_call(outbox, heartbeat_sql, 1, values, &rows);
	if (result == OUTBOX_DONE)
	{
		outbox->heartbeat_us = clock_us() + atoll(PQgetvalue(rows, 0, 1));
		PQclear(rows);
	}
	else if (result == OUTBOX_REFUSED)
		outbox->heartbeat_us = clock_us() + SECOND_US;
	return result;
}

/* A lost connection is noticed by the next call. */
bool
outbox_take_news(Outbox *outbox)
{
	PGnotify *news;
	bool any = false;

	if (!PQconsumeInput(outbox->session.pg))
		return true;
	while ((news = PQnotifies(outbox->session.pg)) != NULL)
	{
		PQfreemem(news);
		any = true;
	}
	return any;
}

int64_t
outbox_note_trouble(Outbox *outbox)
{
	int64_t rest_us = outbox->rest_us;

	outbox->troubled = true;
	outbox->rest_us *= 2;
	if (outbox->rest_us > REST_MAX_US)
		outbox->rest_us = REST_MAX_US;
	return rest_us;
}

void
outbox_note_recovery(Outbox *outbox)
{
	if (outbox->troubled)
		log_event(outbox->log, LOG_INFO, "%sresumed", outbox->prefix);
	outbox->troubled = false;
	outbox->rest_us = REST_FIRST_US;
}

OutboxResult
outbox_call(Outbox *outbox,
			const char *sql,
			int count,
			const char *const *values,
			PGresult **rows)
{
	QueryOutcome outcome = session_query(&outbox->session, sql, count, values);
	bool done = strcmp(outcome.sqlstate, "00000") == 0;
	bool owned = strncmp(outcome.sqlstate, "MS", 2) == 0;

	if (done && rows != NULL)
		*rows = outcome.result;
	if (!done && outcome.result != NULL)
		log_event(outbox->log,
				  owned				 ? LOG_WARN
				  : outbox->troubled ? LOG_DEBUG
									 : LOG_ERROR,
				  "%sdatabase error %s: %s",
				  outbox->prefix,
				  outcome.sqlstate,
				  PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
	if (!done || rows == NULL)
		PQclear(outcome.result);
	if (strncmp(outcome.sqlstate, "08", 2) == 0 ||
		session_lost_primary(outcome.sqlstate) ||
		PQstatus(outbox->session.pg) == CONNECTION_BAD)
		close_session(outbox);
	return done							  ? OUTBOX_DONE
		   : is_passing(outcome.sqlstate) ? OUTBOX_LATER
										  : OUTBOX_REFUSED;
}

/*
 * The server is away, full or stopping, or a timeout or a lock got in the way.
 * After any other error a retry is useless; the lease is left to expire.
 */
static bool
is_passing(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	}
	return session_lost_primary(sqlstate);
}

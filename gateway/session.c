/*
 * session.c: one session with the database, in which no wait is endless.
 *
 * Connecting, asking and waiting all happen under a deadline, also when the
 * server's host has vanished without a word. What ends by its deadline leaves
 * the connection in the middle of something: its owner closes it.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "session.h"

/* The server's own statement timeout comes first and says more. */
#define SERVER_GRACE_US (2 * SECOND_US)

static bool finish_connecting(Session *session, int64_t deadline);
static bool prepare_session(Session *session, int64_t deadline);
static const char *describe_failure(PGconn *pg);
static bool wait_socket(PGconn *pg, short events, int64_t deadline);
static bool send_all(PGconn *pg, int64_t deadline);
static PGresult *receive_last(PGconn *pg, int64_t deadline);

bool
session_open(Session *session, const char *name, LogLevel level)
{
	/* What stands in the URL comes after these and wins over them. */
	static const char *const names[] = {"application_name",
										"keepalives_idle",
										"keepalives_interval",
										"keepalives_count",
										"tcp_user_timeout",
										"dbname",
										"client_encoding",
										NULL};
	const char *values[] = {name,
							"10",
							"5",
							"3",
							"15000",
							session->config->conninfo,
							"UTF8",
							NULL};
	int64_t deadline =
		clock_us() + session->config->pool_connect_timeout * SECOND_US;

	session->pg = PQconnectStartParams(names, values, 1);
	if (session->pg == NULL)
		return false;
	if (!finish_connecting(session, deadline) ||
		!prepare_session(session, deadline))
	{
		log_event(session->log,
				  level,
				  "could not connect to the database: %s",
				  describe_failure(session->pg));
		session_close(session);
		return false;
	}
	session->cancel = PQgetCancel(session->pg);
	return true;
}

void
session_close(Session *session)
{
	PQfreeCancel(session->cancel);
	PQfinish(session->pg);
	session->cancel = NULL;
	session->pg = NULL;
}

QueryOutcome
session_query(Session *session,
			  const char *sql,
			  int count,
			  const char *const *values)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};
	PGconn *pg = session->pg;
	int64_t deadline = clock_us() + SERVER_GRACE_US +
					   session->config->query_timeout * SECOND_US;
	const char *state;

	/*
	 * Not prepared: reading and planning the call was measured at 0.06 ms,
	 * once for a whole batch, and without a name there is nothing that a
	 * pooler in between or a new version of the extension could invalidate.
	 */
	if (PQsendQueryParams(pg, sql, count, NULL, values, NULL, NULL, 0) &&
		send_all(pg, deadline))
		outcome.result = receive_last(pg, deadline);
	if (outcome.result == NULL)
	{
		log_event(session->log,
				  LOG_ERROR,
				  "lost the database during a call: %s",
				  describe_failure(pg));
		return outcome;
	}
	if (PQresultStatus(outcome.result) == PGRES_TUPLES_OK ||
		PQresultStatus(outcome.result) == PGRES_COMMAND_OK)
		memcpy(outcome.sqlstate, "00000", 6);
	else
	{
		/* Without a SQLSTATE the message is libpq's: the connection broke. */
		state = PQresultErrorField(outcome.result, PG_DIAG_SQLSTATE);
		if (state != NULL && strlen(state) == 5)
			memcpy(outcome.sqlstate, state, 6);
	}
	return outcome;
}

static bool
finish_connecting(Session *session, int64_t deadline)
{
	PGconn *pg = session->pg;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(pg) == CONNECTION_BAD)
		return false;
	while (status != PGRES_POLLING_OK)
	{
		short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;

		if (status == PGRES_POLLING_FAILED || *session->stopping ||
			!wait_socket(pg, events, deadline))
			return false;
		status = PQconnectPoll(pg);
	}
	return PQsetnonblocking(pg, 1) == 0;
}

/*
 * Bounds what the server does for us, and makes sure that a commit is on disk
 * when it returns, whatever the server's default is: an answer 202 is a
 * promise. The other values of synchronous_commit are durable here as well.
 */
static bool
prepare_session(Session *session, int64_t deadline)
{
	static const char sql[] =
		"SELECT set_config('statement_timeout', $1, false),"
		" CASE WHEN current_setting('synchronous_commit') = 'off'"
		" THEN set_config('synchronous_commit', 'on', false) END";
	char timeout[32];
	const char *values[] = {timeout};
	PGconn *pg = session->pg;
	PGresult *result;
	bool done;

	snprintf(timeout, sizeof(timeout), "%lds", session->config->query_timeout);
	if (!PQsendQueryParams(pg, sql, 1, NULL, values, NULL, NULL, 0) ||
		!send_all(pg, deadline))
		return false;
	result = receive_last(pg, deadline);
	done = PQresultStatus(result) == PGRES_TUPLES_OK;
	PQclear(result);
	return done;
}

static const char *
describe_failure(PGconn *pg)
{
	const char *message = PQerrorMessage(pg);

	return message[0] != '\0' ? message : "no answer in time";
}

/* Also true when the socket has failed: the next call of libpq says how. */
static bool
wait_socket(PGconn *pg, short events, int64_t deadline)
{
	for (;;)
	{
		struct pollfd socket = {.fd = PQsocket(pg), .events = events};
		int64_t left = deadline - clock_us();
		int ready;

		if (left <= 0 || socket.fd < 0)
			return false;
		ready = poll(&socket, 1, (int) (left / 1000 + 1));
		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR)
			return false;
	}
}

static bool
send_all(PGconn *pg, int64_t deadline)
{
	int left;

	while ((left = PQflush(pg)) == 1)
	{
		if (!wait_socket(pg, POLLIN | POLLOUT, deadline) || !PQconsumeInput(pg))
			return false;
	}
	return left == 0;
}

/* The last result of what was sent, or NULL if it cannot be had in time. */
static PGresult *
receive_last(PGconn *pg, int64_t deadline)
{
	PGresult *last = NULL;
	PGresult *next;

	for (;;)
	{
		while (PQisBusy(pg))
		{
			if (!wait_socket(pg, POLLIN, deadline) || !PQconsumeInput(pg))
			{
				PQclear(last);
				return NULL;
			}
		}
		next = PQgetResult(pg);
		if (next == NULL)
			return last;
		PQclear(last);
		last = next;
	}
}

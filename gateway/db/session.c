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
#include "db/session.h"

/* The server's own statement timeout comes first and says more. */
#define SERVER_GRACE_US (2 * SECOND_US)

static bool finish_connecting(Session *session, int64_t deadline);
static bool prepare_session(Session *session, int64_t deadline);
static const char *describe_failure(PGconn *pg);
static bool wait_socket(PGconn *pg, short events, int64_t deadline);
static bool send_all(PGconn *pg, int64_t deadline);
static PGresult *receive_last(PGconn *pg, int64_t deadline);
static bool send_pipeline(PGconn *pg, const Statement *statements, int count);
static PGresult *
receive_pipeline(PGconn *pg, int count, PGresult **results, int64_t deadline);
static bool await_result(PGconn *pg, PGresult **result, int64_t deadline);
static void take_outcome(Session *session, QueryOutcome *outcome);

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

	/*
	 * Not prepared: reading and planning the call was measured at 0.06 ms,
	 * once for a whole batch, and without a name there is nothing that a
	 * pooler in between or a new version of the extension could invalidate.
	 */
	if (PQsendQueryParams(pg, sql, count, NULL, values, NULL, NULL, 0) &&
		send_all(pg, deadline))
		outcome.result = receive_last(pg, deadline);
	take_outcome(session, &outcome);
	return outcome;
}

/*
 * A pipeline up to its one synchronization point is one transaction. Settings
 * that are local to it end with it, however it ends, so a session that comes
 * back from here is what it was before.
 */
QueryOutcome
session_transaction(Session *session,
					const Statement *statements,
					int count,
					PGresult **results)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};
	PGconn *pg = session->pg;
	int64_t deadline = clock_us() + SERVER_GRACE_US +
					   session->config->query_timeout * SECOND_US;

	for (int i = 0; i < count; i++)
		results[i] = NULL;
	if (send_pipeline(pg, statements, count) && send_all(pg, deadline))
		outcome.result = receive_pipeline(pg, count, results, deadline);
	take_outcome(session, &outcome);
	if (strcmp(outcome.sqlstate, "00000") == 0)
		return outcome;
	for (int i = 0; i < count; i++)
	{
		PQclear(results[i]);
		results[i] = NULL;
	}
	return outcome;
}

static bool
send_pipeline(PGconn *pg, const Statement *statements, int count)
{
	if (!PQenterPipelineMode(pg))
		return false;
	for (int i = 0; i < count; i++)
	{
		if (!PQsendQueryParams(pg,
							   statements[i].sql,
							   statements[i].count,
							   NULL,
							   statements[i].values,
							   NULL,
							   NULL,
							   0))
			return false;
	}
	return PQpipelineSync(pg);
}

/*
 * What decides: the first error, or the synchronization point, which comes
 * after the commit. NULL if it was not reached in time. A pipeline that is
 * not left stays visible to whoever asks whether the session can be kept.
 */
static PGresult *
receive_pipeline(PGconn *pg, int count, PGresult **results, int64_t deadline)
{
	PGresult *error = NULL;
	PGresult *result;
	int at = 0;
	int ends = 0;

	/* Between two statements there is one NULL; two are the end of all. */
	while (ends < 2 && await_result(pg, &result, deadline))
	{
		ExecStatusType status = PQresultStatus(result);

		if (result == NULL)
		{
			ends++;
			at++;
			continue;
		}
		ends = 0;
		if (status == PGRES_PIPELINE_SYNC)
		{
			if (!PQexitPipelineMode(pg) || error != NULL)
			{
				PQclear(result);
				return error;
			}
			return result;
		}
		if (status == PGRES_TUPLES_OK && at < count && results[at] == NULL)
			results[at] = result;
		else if (status == PGRES_FATAL_ERROR && error == NULL)
			error = result;
		else
			PQclear(result);
	}
	return error;
}

/* The next result, NULL where one statement ends; false: not in time. */
static bool
await_result(PGconn *pg, PGresult **result, int64_t deadline)
{
	while (PQisBusy(pg))
	{
		if (!wait_socket(pg, POLLIN, deadline) || !PQconsumeInput(pg))
			return false;
	}
	*result = PQgetResult(pg);
	return true;
}

/* What the result says about the call. */
static void
take_outcome(Session *session, QueryOutcome *outcome)
{
	ExecStatusType status = PQresultStatus(outcome->result);
	const char *state;

	if (outcome->result == NULL)
	{
		log_event(session->log,
				  LOG_ERROR,
				  "lost the database during a call: %s",
				  describe_failure(session->pg));
		return;
	}
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
		status == PGRES_PIPELINE_SYNC)
	{
		memcpy(outcome->sqlstate, "00000", 6);
		return;
	}
	/* Without a SQLSTATE the message is libpq's: the connection broke. */
	state = PQresultErrorField(outcome->result, PG_DIAG_SQLSTATE);
	if (state != NULL && strlen(state) == 5)
		memcpy(outcome->sqlstate, state, 6);
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
 *
 * Where the module is not preloaded, msgstore.tenant_id is a name that anyone
 * may set, and what was set may be thrown away when the module comes: such a
 * session must not be taken for one that works for a tenant.
 */
static bool
prepare_session(Session *session, int64_t deadline)
{
	static const char sql[] =
		"SELECT set_config('statement_timeout', $1, false),"
		" CASE WHEN current_setting('synchronous_commit') = 'off'"
		" THEN set_config('synchronous_commit', 'on', false) END,"
		" EXISTS (SELECT FROM pg_catalog.pg_settings"
		" WHERE name = 'msgstore.tenant_id' AND context = 'superuser')";
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
	session->scoped = done && strcmp(PQgetvalue(result, 0, 2), "t") == 0;
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
		if (!await_result(pg, &next, deadline))
		{
			PQclear(last);
			return NULL;
		}
		if (next == NULL)
			return last;
		PQclear(last);
		last = next;
	}
}

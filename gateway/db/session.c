/*
 * session.c: a database session in which every wait has a time limit.
 *
 * Connecting, sending and receiving have deadlines, which also apply when the
 * server's host disappears without closing the connection. After a missed
 * deadline the state of the connection is unknown: its owner closes it.
 * On a router there is no statement_timeout: to cancel a call in a slot that
 * hangs, PL/Proxy waits without a limit, and cannot be terminated. The session
 * is closed instead, and the router notices that by itself.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "db/session.h"

/* Lets statement_timeout on the server end the call first: it says more. */
#define SERVER_GRACE_US (2 * SECOND_US)

/* How late an attempt to connect may notice that its owner stops. */
#define STOPPING_US (SECOND_US / 20)

static const char prepared_name[] = "msgstore_gateway";

static bool connect_once(Session *session, const char *name);
static int64_t connect_deadline(const Session *session);
static bool finish_connecting(Session *session);
static bool
wait_connecting(const Session *session, short events, int64_t deadline);
static bool prepare_session(Session *session, int64_t deadline);
static void describe_timeout(const Session *session, char *text, size_t size);
static const char *describe_failure(PGconn *pg);
static bool wait_socket(PGconn *pg, short events, int64_t deadline);
static bool send_all(PGconn *pg, int64_t deadline);
static PGresult *receive_last(PGconn *pg, int64_t deadline);
static bool needs_settings(const Session *session);
static int send_settings(Session *session);
static bool
send_text(PGconn *pg, const char *sql, int count, const char *const *values);
static QueryOutcome run_query(Session *session, const Statement *statement);
static QueryOutcome run_transaction(Session *session,
									const Statement *statements,
									int count,
									PGresult **results);
static int64_t begin_call(Session *session);
static bool send_statement(Session *session, const Statement *statement);
static bool is_stale(Session *session, const QueryOutcome *outcome);
static bool
send_pipeline(Session *session, const Statement *statements, int count);
static PGresult *receive_pipeline(PGconn *pg,
								  int settings,
								  int count,
								  PGresult **results,
								  int64_t deadline);
static bool await_result(PGconn *pg, PGresult **result, int64_t deadline);
static void take_notice(void *argument, const PGresult *notice);
static void take_outcome(Session *session, QueryOutcome *outcome);

bool
session_open(Session *session, const char *name, LogLevel level)
{
	int tries = 0;
	int servers;
	bool silent;

	do
	{
		if (connect_once(session, name))
			return true;
		if (session->pg == NULL)
			return false;
		servers = hosts_count(session->pg);
		silent = PQstatus(session->pg) != CONNECTION_BAD;
		/* A connection that was given up at shutdown has not failed. */
		if (!*session->stopping)
			log_event(session->log,
					  level,
					  "could not connect to the database: %s%s%s",
					  silent ? "no answer in time from " : "",
					  silent ? PQhost(session->pg) : "",
					  silent ? "" : describe_failure(session->pg));
		if (silent)
			hosts_pass_over(&session->order, session->pg);
		session_close(session);
	} while (silent && !*session->stopping && ++tries < servers);
	return false;
}

/* Leaves the connection for its owner to close if it fails. */
static bool
connect_once(Session *session, const char *name)
{
	/* Those in the URL, expanded from dbname, override the ones before it. */
	static const char *const names[] = {"application_name",
										"keepalives_idle",
										"keepalives_interval",
										"keepalives_count",
										"tcp_user_timeout",
										"dbname",
										"client_encoding",
										"host",
										"hostaddr",
										"port",
										NULL};
	/* libpq ignores empty values. */
	const char *values[] = {name,
							"10",
							"5",
							"3",
							"15000",
							session->conninfo != NULL
								? session->conninfo
								: session->config->conninfo,
							"UTF8",
							session->order.host,
							session->order.hostaddr,
							session->order.port,
							NULL};

	session->pg = PQconnectStartParams(names, values, 1);
	if (session->pg == NULL || !finish_connecting(session) ||
		!prepare_session(session, connect_deadline(session)))
		return false;
	session->cancel = PQgetCancel(session->pg);
	return true;
}

static int64_t
connect_deadline(const Session *session)
{
	return clock_us() + session->config->pool_connect_timeout * SECOND_US;
}

void
session_close(Session *session)
{
	PQfreeCancel(session->cancel);
	PQfinish(session->pg);
	session->cancel = NULL;
	session->pg = NULL;
}

bool
session_lost_primary(const char *sqlstate)
{
	return strcmp(sqlstate, "25006") == 0;
}

bool
session_was_lost(const char *sqlstate)
{
	return strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P", 3) == 0;
}

void
session_prepare(Session *session, const char *sql)
{
	int64_t deadline = connect_deadline(session);
	PGresult *result = NULL;

	if (session->pooled || session->prepared == sql)
		return;
	if (PQsendPrepare(session->pg, prepared_name, sql, 0, NULL) &&
		send_all(session->pg, deadline))
		result = receive_last(session->pg, deadline);
	/* After a failure the call itself shows what is wrong. */
	if (PQresultStatus(result) == PGRES_COMMAND_OK)
		session->prepared = sql;
	PQclear(result);
}

QueryOutcome
session_query(Session *session,
			  const char *sql,
			  int count,
			  const char *const *values)
{
	const Statement statement = {.sql = sql, .count = count, .values = values};

	return session_run(session, &statement);
}

QueryOutcome
session_run(Session *session, const Statement *statement)
{
	QueryOutcome outcome = {.result = NULL};
	PGresult *result;

	if (needs_settings(session))
	{
		outcome = session_transaction(session, statement, 1, &result);
		if (strcmp(outcome.sqlstate, "00000") == 0)
		{
			PQclear(outcome.result);
			outcome.result = result;
		}
		return outcome;
	}
	do
	{
		PQclear(outcome.result);
		outcome = run_query(session, statement);
	} while (is_stale(session, &outcome));
	return outcome;
}

bool
session_send(Session *session, const Statement *statement)
{
	int64_t deadline = begin_call(session);

	return send_statement(session, statement) &&
		   send_all(session->pg, deadline);
}

bool
session_has_outcome(Session *session, int file, int64_t until_us)
{
	struct pollfd files[] = {{.fd = PQsocket(session->pg), .events = POLLIN},
							 {.fd = file, .events = POLLIN}};
	int64_t left = until_us - clock_us();

	if (!PQisBusy(session->pg) || files[0].fd < 0)
		return true;
	if (poll(files, 2, left > 0 ? (int) (left / 1000 + 1) : 0) <= 0 ||
		files[0].revents == 0)
		return false;
	return !PQconsumeInput(session->pg) || !PQisBusy(session->pg);
}

QueryOutcome
session_take_outcome(Session *session)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};

	outcome.result = receive_last(session->pg, clock_us() + SERVER_GRACE_US);
	take_outcome(session, &outcome);
	return outcome;
}

static QueryOutcome
run_query(Session *session, const Statement *statement)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};
	int64_t deadline = begin_call(session);

	if (send_statement(session, statement) && send_all(session->pg, deadline))
		outcome.result = receive_last(session->pg, deadline);
	take_outcome(session, &outcome);
	return outcome;
}

/* Returns the deadline. The session may have been moved since it was opened. */
static int64_t
begin_call(Session *session)
{
	session->unsafe = false;
	PQsetNoticeReceiver(session->pg, take_notice, session);
	return clock_us() + SERVER_GRACE_US +
		   session->config->query_timeout * SECOND_US;
}

static bool
send_statement(Session *session, const Statement *statement)
{
	if (statement->sql == session->prepared)
		return PQsendQueryPrepared(session->pg,
								   prepared_name,
								   statement->count,
								   statement->values,
								   statement->lengths,
								   statement->formats,
								   0);
	return PQsendQueryParams(session->pg,
							 statement->sql,
							 statement->count,
							 NULL,
							 statement->values,
							 statement->lengths,
							 statement->formats,
							 0);
}

/*
 * Did the call fail because the prepared statement is gone, or because a new
 * version of the extension returns other columns? It has changed nothing then,
 * and is repeated without.
 */
static bool
is_stale(Session *session, const QueryOutcome *outcome)
{
	if (session->prepared == NULL || (strcmp(outcome->sqlstate, "26000") != 0 &&
									  strcmp(outcome->sqlstate, "0A000") != 0))
		return false;
	session->prepared = NULL;
	session->stale = true;
	return true;
}

/*
 * A pipeline up to its synchronization point is one transaction. Its local
 * settings end with it, whether it commits or aborts, so it leaves the session
 * as it was.
 */
QueryOutcome
session_transaction(Session *session,
					const Statement *statements,
					int count,
					PGresult **results)
{
	QueryOutcome outcome = {.result = NULL};

	do
	{
		PQclear(outcome.result);
		outcome = run_transaction(session, statements, count, results);
	} while (is_stale(session, &outcome));
	return outcome;
}

static QueryOutcome
run_transaction(Session *session,
				const Statement *statements,
				int count,
				PGresult **results)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};
	PGconn *pg = session->pg;
	int64_t deadline = begin_call(session);
	int settings = -1;

	for (int i = 0; i < count; i++)
		results[i] = NULL;
	if (PQenterPipelineMode(pg))
		settings = send_settings(session);
	if (settings >= 0 && send_pipeline(session, statements, count) &&
		send_all(pg, deadline))
		outcome.result =
			receive_pipeline(pg, settings, count, results, deadline);
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
needs_settings(const Session *session)
{
	return session->pooled || session->lock_timeout != NULL;
}

/*
 * Sends the settings of this transaction, ahead of its statements. Returns how
 * many statements that took, or -1.
 */
static int
send_settings(Session *session)
{
	static const char lock_sql[] = "SELECT pg_catalog.set_config("
								   "'lock_timeout', $1, true)";
	static const char pooled_sql[] =
		"SELECT pg_catalog.set_config('statement_timeout', $1, true),"
		" CASE WHEN $2::bool THEN pg_catalog.set_config("
		"'client_connection_check_interval', '1s', true) END,"
		" CASE WHEN pg_catalog.current_setting('synchronous_commit') = 'off'"
		" THEN pg_catalog.set_config('synchronous_commit', 'on', true) END";
	char timeout[32];
	const char *values[] = {timeout, session->router ? "t" : "f"};
	int sent = 0;

	if (session->pooled)
	{
		describe_timeout(session, timeout, sizeof(timeout));
		if (!send_text(session->pg, pooled_sql, 2, values))
			return -1;
		sent++;
	}
	if (session->lock_timeout != NULL)
	{
		if (!send_text(session->pg, lock_sql, 1, &session->lock_timeout))
			return -1;
		sent++;
	}
	return sent;
}

static bool
send_text(PGconn *pg, const char *sql, int count, const char *const *values)
{
	return PQsendQueryParams(pg, sql, count, NULL, values, NULL, NULL, 0);
}

static bool
send_pipeline(Session *session, const Statement *statements, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (!send_statement(session, &statements[i]))
			return false;
	}
	return PQpipelineSync(session->pg);
}

/*
 * Returns the first error or the synchronization point, which follows the
 * commit, or NULL if neither arrived in time. A session that is still in
 * pipeline mode is not reused.
 */
static PGresult *
receive_pipeline(PGconn *pg,
				 int settings,
				 int count,
				 PGresult **results,
				 int64_t deadline)
{
	PGresult *error = NULL;
	PGresult *result;
	int at = -settings;
	int ends = 0;

	/* One NULL separates two statements; two in a row end the pipeline. */
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
		if (status == PGRES_TUPLES_OK && at >= 0 && at < count &&
			results[at] == NULL)
			results[at] = result;
		else if (status == PGRES_FATAL_ERROR && error == NULL)
			error = result;
		else
			PQclear(result);
	}
	return error;
}

/* The next result, NULL at the end of a statement; false: not in time. */
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

/*
 * A commit that is cancelled while it waits for synchronous standbys succeeds
 * with a warning. If this server died now, what was committed could be lost,
 * so it is not acknowledged. The text depends on the server's language; the
 * name of the function does not. A router passes on the warnings of a slot
 * under PL/Proxy's name; no call that the gateway makes has others.
 */
static void
take_notice(void *argument, const PGresult *notice)
{
	Session *session = argument;
	const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
	const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);

	if (function == NULL || state == NULL)
		return;
	if (strcmp(function, "SyncRepWaitForLSN") == 0 ||
		(strcmp(function, "plproxy_remote_error") == 0 &&
		 strncmp(state, "01", 2) == 0))
		session->unsafe = true;
}

/* Sets the outcome's SQLSTATE from its result. */
static void
take_outcome(Session *session, QueryOutcome *outcome)
{
	ExecStatusType status = PQresultStatus(outcome->result);
	const char *state;

	if (outcome->result == NULL)
	{
		log_event(session->log,
				  LOG_ERROR,
				  "lost the connection to the database during a call: %s",
				  describe_failure(session->pg));
		return;
	}
	if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK ||
		status == PGRES_PIPELINE_SYNC)
	{
		memcpy(outcome->sqlstate, "00000", 6);
		if (!session->unsafe)
			return;
		log_event(session->log,
				  LOG_ERROR,
				  "a commit did not wait for the synchronous standby");
		PQclear(outcome->result);
		outcome->result = NULL;
		/* transaction resolution unknown */
		memcpy(outcome->sqlstate, "08007", 6);
		return;
	}
	/* A message without a SQLSTATE is libpq's: the connection was lost. */
	state = PQresultErrorField(outcome->result, PG_DIAG_SQLSTATE);
	if (state != NULL && strlen(state) == 5)
		memcpy(outcome->sqlstate, state, 6);
}

/* Each server has the whole time: libpq moves on to the next by itself. */
static bool
finish_connecting(Session *session)
{
	PGconn *pg = session->pg;
	const char *host = PQhost(pg);
	const char *port = PQport(pg);
	int64_t deadline = connect_deadline(session);
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(pg) == CONNECTION_BAD)
		return false;
	while (status != PGRES_POLLING_OK)
	{
		short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;

		if (status == PGRES_POLLING_FAILED ||
			!wait_connecting(session, events, deadline))
			return false;
		status = PQconnectPoll(pg);
		if (PQhost(pg) != host || PQport(pg) != port)
			deadline = connect_deadline(session);
		host = PQhost(pg);
		port = PQport(pg);
	}
	return PQsetnonblocking(pg, 1) == 0;
}

/* Like wait_socket, but gives up soon after the owner stops. */
static bool
wait_connecting(const Session *session, short events, int64_t deadline)
{
	while (!*session->stopping && PQsocket(session->pg) >= 0)
	{
		int64_t soon = clock_us() + STOPPING_US;

		if (wait_socket(session->pg, events, soon < deadline ? soon : deadline))
			return true;
		if (clock_us() >= deadline)
			return false;
	}
	return false;
}

/*
 * Limits the time of each statement on the server, and makes commits durable
 * whatever the server's default is, because 202 promises that. All values of
 * synchronous_commit but "off" are durable.
 *
 * A pooler may give the server's session to another client after each
 * transaction, so behind one these settings are made in each transaction
 * instead (send_settings). A pooler shows: the process id that it told this
 * client at connect is not that of the server's process.
 *
 * If the module is not preloaded, msgstore.tenant_id is a placeholder that any
 * role can set, and its value can be lost when the module is loaded. Such a
 * session must not be used for a tenant.
 */
static bool
prepare_session(Session *session, int64_t deadline)
{
	static const char sql[] =
		"SELECT pg_backend_pid() = $2::int4,"
		" EXISTS (SELECT FROM pg_catalog.pg_settings"
		" WHERE name = 'msgstore.tenant_id' AND context = 'superuser'),"
		" CASE WHEN pg_backend_pid() = $2::int4"
		" THEN set_config('statement_timeout',"
		" CASE WHEN router THEN '0' ELSE $1 END, false) END,"
		" CASE WHEN pg_backend_pid() = $2::int4"
		" AND current_setting('synchronous_commit') = 'off'"
		" THEN set_config('synchronous_commit', 'on', false) END,"
		" router,"
		" CASE WHEN pg_backend_pid() = $2::int4 AND router"
		" THEN set_config('client_connection_check_interval', '1s', false) END"
		" FROM (SELECT EXISTS (SELECT FROM pg_catalog.pg_extension"
		" WHERE extname = 'msgstore_router')) AS e (router)";
	char timeout[32];
	char process[32];
	const char *values[] = {timeout, process};
	PGconn *pg = session->pg;
	PGresult *result;
	bool done;

	session->router = false;
	describe_timeout(session, timeout, sizeof(timeout));
	snprintf(process, sizeof(process), "%d", PQbackendPID(pg));
	if (!send_text(pg, sql, 2, values) || !send_all(pg, deadline))
		return false;
	result = receive_last(pg, deadline);
	done = PQresultStatus(result) == PGRES_TUPLES_OK;
	session->pooled = done && strcmp(PQgetvalue(result, 0, 0), "t") != 0;
	session->scoped = done && strcmp(PQgetvalue(result, 0, 1), "t") == 0;
	session->router = done && strcmp(PQgetvalue(result, 0, 4), "t") == 0;
	session->lock_timeout = NULL;
	session->prepared = NULL;
	session->stale = false;
	PQclear(result);
	return done;
}

static void
describe_timeout(const Session *session, char *text, size_t size)
{
	long seconds = session->router ? 0 : session->config->query_timeout;

	snprintf(text, size, "%lds", seconds);
}

static const char *
describe_failure(PGconn *pg)
{
	const char *message = PQerrorMessage(pg);

	return message[0] != '\0' ? message : "no answer in time";
}

/* Also true if the socket failed: the next call of libpq reports it. */
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

/* The last result of what was sent, or NULL if it did not arrive in time. */
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

/*
 * readiness.c: whether a webhook posted now would be stored and processed.
 *
 * One thread asks the database, on a session of its own: the connections of the
 * pool may all be busy, which does not mean that the gateway should get no more
 * requests. All probes that arrive meanwhile share its answer, so a flood of
 * them costs five queries a second. The session is closed when no probe has
 * come for a while.
 *
 * What is missing is found by msgstore.readiness(); before that can be called,
 * by the catalogs, which every role can read.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "db/readiness.h"
#include "db/session.h"

/* How long an answer is used, and what is left of it if the check hangs. */
#define FRESH_US (SECOND_US / 5)
#define STALE_US (5 * SECOND_US)

/* Probes usually time out after a second: do not wait longer. */
#define WAIT_US SECOND_US

/* Until the first check succeeds. */
#define RETRY_US SECOND_US

#define IDLE_US (60 * SECOND_US)

struct Readiness
{
	const Config *config;
	Log *log;
	Pool *pool;
	pthread_t thread;
	atomic_bool stopping;

	/* Of the thread. */
	Session session; /* closed if its pg is NULL */
	bool failed;	 /* to connect, the last time */
	Text names;		 /* of the findings of this check */
	Text lines;		 /* the same for the log, after e or w for the level */
	Text logged;	 /* names of those that were logged */

	pthread_mutex_t mutex;	/* guards the members below */
	pthread_cond_t asked;	/* a probe waits, or we stop */
	pthread_cond_t checked; /* a check has ended */
	bool wanted;
	PGcancel *running; /* cancels the query that is running, or NULL */
	int64_t checked_us;
	ReadinessAnswer last;
};

static const char rights_sql[] =
	"SELECT pg_catalog.has_schema_privilege(n.oid, 'USAGE'),"
	" pg_catalog.has_function_privilege(p.oid, 'EXECUTE'),"
	" current_user, pg_catalog.quote_literal(pg_catalog.quote_ident("
	"current_user))"
	" FROM pg_catalog.pg_extension e"
	" JOIN pg_catalog.pg_namespace n ON n.nspname = 'msgstore'"
	" JOIN pg_catalog.pg_proc p"
	" ON p.pronamespace = n.oid AND p.proname = 'readiness'"
	" WHERE e.extname IN ('msgstore', 'msgstore_router')";

static const char findings_sql[] =
	"SELECT finding, severity, detail, hint FROM msgstore.readiness()";

/* Findings of msgstore.readiness() that keep no event from being stored. */
static const char *const not_processed[] = {"no worker",
											"library not preloaded"};

static void *run_checks(void *argument);
static bool check(Readiness *readiness, ReadinessAnswer *answer);
static bool look_at_rights(Readiness *readiness, ReadinessAnswer *answer);
static bool take_findings(Readiness *readiness, ReadinessAnswer *answer);
static QueryOutcome query(Readiness *readiness, const char *sql);
static bool explain_failure(Readiness *readiness,
							const QueryOutcome *outcome,
							ReadinessAnswer *answer);
static void add_finding(Readiness *readiness,
						ReadinessAnswer *answer,
						const char *const *finding);
static ReadinessState
state_of(const Readiness *readiness, const char *finding, const char *severity);
static void
set_state(ReadinessAnswer *answer, ReadinessState state, const char *why);
static void log_changes(Readiness *readiness, const ReadinessAnswer *answer);
static void free_answer(ReadinessAnswer *answer);

Readiness *
readiness_create(const Config *config, Log *log, Pool *pool)
{
	Readiness *readiness = calloc(1, sizeof(*readiness));

	if (readiness == NULL)
		return NULL;
	readiness->config = config;
	readiness->log = log;
	readiness->pool = pool;
	readiness->session = (Session){.config = config,
								   .log = log,
								   .stopping = &readiness->stopping};
	readiness->wanted = true;
	pthread_mutex_init(&readiness->mutex, NULL);
	clock_init_condition(&readiness->asked);
	clock_init_condition(&readiness->checked);
	if (pthread_create(&readiness->thread, NULL, run_checks, readiness) == 0)
		return readiness;
	free(readiness);
	return NULL;
}

void
readiness_ask(Readiness *readiness, ReadinessAnswer *answer)
{
	int64_t now = clock_us();
	struct timespec until = clock_timespec(now + WAIT_US);
	const ReadinessAnswer *last = &readiness->last;
	int64_t age;

	memset(answer, 0, sizeof(*answer));
	pthread_mutex_lock(&readiness->mutex);
	while (!readiness->stopping && readiness->checked_us + FRESH_US < now)
	{
		readiness->wanted = true;
		pthread_cond_signal(&readiness->asked);
		if (pthread_cond_timedwait(&readiness->checked,
								   &readiness->mutex,
								   &until) == ETIMEDOUT)
			break;
	}
	age = clock_us() - readiness->checked_us;
	/* The pool may notice later than this session that the database is back. */
	if (pool_is_away(readiness->pool))
		set_state(answer, READINESS_NOT_READY, "database is not reachable");
	else if (readiness->checked_us != 0 && age < STALE_US)
	{
		answer->state = last->state;
		text_add(&answer->why, last->why.data, last->why.length);
		text_add(&answer->findings, last->findings.data, last->findings.length);
	}
	else
		set_state(answer, READINESS_NOT_READY, "database does not answer");
	pthread_mutex_unlock(&readiness->mutex);
}

ReadinessState
readiness_check(const Config *config, Log *log)
{
	Readiness readiness = {.config = config, .log = log};
	ReadinessAnswer answer = {0};
	ReadinessState state;

	readiness.session = (Session){.config = config,
								  .log = log,
								  .stopping = &readiness.stopping};
	pthread_mutex_init(&readiness.mutex, NULL);
	if (check(&readiness, &answer))
		log_changes(&readiness, &answer);
	state = answer.state;
	session_close(&readiness.session);
	free_answer(&answer);
	text_free(&readiness.names);
	text_free(&readiness.lines);
	text_free(&readiness.logged);
	pthread_mutex_destroy(&readiness.mutex);
	return state;
}

void
readiness_stop(Readiness *readiness)
{
	char ignored[256];

	pthread_mutex_lock(&readiness->mutex);
	readiness->stopping = true;
	pthread_cond_signal(&readiness->asked);
	pthread_cond_broadcast(&readiness->checked);
	if (readiness->running != NULL)
		PQcancel(readiness->running, ignored, sizeof(ignored));
	pthread_mutex_unlock(&readiness->mutex);
	pthread_join(readiness->thread, NULL);
	session_close(&readiness->session);
	free_answer(&readiness->last);
	text_free(&readiness->names);
	text_free(&readiness->lines);
	text_free(&readiness->logged);
	pthread_cond_destroy(&readiness->checked);
	pthread_cond_destroy(&readiness->asked);
	pthread_mutex_destroy(&readiness->mutex);
	free(readiness);
}

static void *
run_checks(void *argument)
{
	Readiness *readiness = argument;
	bool answered = false; /* by the database, once */
	ReadinessAnswer fresh;

	pthread_mutex_lock(&readiness->mutex);
	while (!readiness->stopping)
	{
		bool reached;

		if (!readiness->wanted)
		{
			struct timespec until =
				clock_timespec(clock_us() + (answered ? IDLE_US : RETRY_US));

			if (pthread_cond_timedwait(&readiness->asked,
									   &readiness->mutex,
									   &until) != ETIMEDOUT)
				continue;
			if (answered)
				session_close(&readiness->session);
			else
				readiness->wanted = true;
			continue;
		}
		readiness->wanted = false;
		pthread_mutex_unlock(&readiness->mutex);
		memset(&fresh, 0, sizeof(fresh));
		text_free(&readiness->names);
		text_free(&readiness->lines);
		reached = check(readiness, &fresh);
		/* The stop may have cancelled it. */
		if (reached && !readiness->stopping)
			log_changes(readiness, &fresh);
		answered = answered || reached;
		pthread_mutex_lock(&readiness->mutex);
		free_answer(&readiness->last);
		readiness->last = fresh;
		readiness->checked_us = clock_us();
		pthread_cond_broadcast(&readiness->checked);
	}
	pthread_mutex_unlock(&readiness->mutex);
	return NULL;
}

/* Returns false if the database could not be asked. */
static bool
check(Readiness *readiness, ReadinessAnswer *answer)
{
	Session *session = &readiness->session;

	/* A session that the server has closed meanwhile is opened again, once. */
	for (int attempt = 0; attempt < 2; attempt++)
	{
		bool kept = session->pg != NULL;
		/* The pool logs that as well, unless it keeps no connection. */
		LogLevel level = readiness->config->pool_min > 0 || readiness->failed
							 ? LOG_DEBUG
							 : LOG_ERROR;

		readiness->failed =
			!kept && !session_open(session, "msgstore-gateway-probe", level);
		if (readiness->failed)
			break;
		if (look_at_rights(readiness, answer))
		{
			/* Another server may take the writes by the next check. */
			if (answer->state == READINESS_NOT_READY)
				session_close(session);
			return true;
		}
		session_close(session);
		if (!kept || readiness->stopping)
			break;
	}
	free_answer(answer);
	set_state(answer, READINESS_NOT_READY, "database is not reachable");
	return false;
}

/* Returns false if the connection was lost. */
static bool
look_at_rights(Readiness *readiness, ReadinessAnswer *answer)
{
	QueryOutcome outcome = query(readiness, rights_sql);
	PGresult *row = outcome.result;
	bool asked = true;
	Text detail = {0};
	Text hint = {0};

	if (strcmp(outcome.sqlstate, "00000") != 0)
		asked = explain_failure(readiness, &outcome, answer);
	else if (PQntuples(row) == 0)
		add_finding(readiness,
					answer,
					(const char *[]){"extension \"msgstore\" does not exist",
									 "error",
									 "The extension was not created in this "
									 "database.",
									 "Run CREATE EXTENSION msgstore."});
	else if (strcmp(PQgetvalue(row, 0, 0), "t") != 0 ||
			 strcmp(PQgetvalue(row, 0, 1), "t") != 0)
	{
		text_addf(&detail,
				  "Role \"%s\" has no %s.",
				  PQgetvalue(row, 0, 2),
				  strcmp(PQgetvalue(row, 0, 0), "t") != 0
					  ? "USAGE privilege on schema msgstore"
					  : "EXECUTE privilege on msgstore.readiness(interval)");
		text_addf(&hint,
				  "Run SELECT msgstore.grant_access(%s, 'ingest') and, for "
				  "lists, SELECT msgstore.grant_access(%s, 'read').",
				  PQgetvalue(row, 0, 3),
				  PQgetvalue(row, 0, 3));
		add_finding(readiness,
					answer,
					(const char *[]){"missing privileges",
									 "error",
									 detail.data != NULL ? detail.data : "",
									 hint.data != NULL ? hint.data : ""});
	}
	else
		asked = take_findings(readiness, answer);
	PQclear(row);
	text_free(&detail);
	text_free(&hint);
	return asked;
}

/* Returns false if the connection was lost. */
static bool
take_findings(Readiness *readiness, ReadinessAnswer *answer)
{
	QueryOutcome outcome = query(readiness, findings_sql);
	bool asked = true;

	if (strcmp(outcome.sqlstate, "00000") != 0)
		asked = explain_failure(readiness, &outcome, answer);
	for (int row = 0; strcmp(outcome.sqlstate, "00000") == 0 &&
					  row < PQntuples(outcome.result);
		 row++)
	{
		const char *finding[4];

		for (int i = 0; i < 4; i++)
			finding[i] = PQgetvalue(outcome.result, row, i);
		add_finding(readiness, answer, finding);
	}
	PQclear(outcome.result);
	return asked;
}

static QueryOutcome
query(Readiness *readiness, const char *sql)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "57014"};
	bool stopping;

	pthread_mutex_lock(&readiness->mutex);
	stopping = readiness->stopping;
	readiness->running = stopping ? NULL : readiness->session.cancel;
	pthread_mutex_unlock(&readiness->mutex);
	if (stopping)
		return outcome;
	outcome = session_query(&readiness->session, sql, 0, NULL);
	pthread_mutex_lock(&readiness->mutex);
	readiness->running = NULL;
	pthread_mutex_unlock(&readiness->mutex);
	return outcome;
}

/* Returns false if the connection was lost. */
static bool
explain_failure(Readiness *readiness,
				const QueryOutcome *outcome,
				ReadinessAnswer *answer)
{
	const char *message =
		PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_PRIMARY);

	if (strncmp(outcome->sqlstate, "08", 2) == 0 ||
		strncmp(outcome->sqlstate, "57P", 3) == 0)
		return false;
	text_addf(&readiness->names, "%s\n", outcome->sqlstate);
	text_addf(&readiness->lines,
			  "ecould not check: database error %s: %s\n",
			  outcome->sqlstate,
			  message != NULL ? message : "");
	set_state(answer, READINESS_NOT_READY, "database is not available");
	return true;
}

/* finding, severity, detail and hint. */
static void
add_finding(Readiness *readiness,
			ReadinessAnswer *answer,
			const char *const *finding)
{
	static const char *const names[] = {"finding",
										"severity",
										"detail",
										"hint"};
	/* A client without a key learns what is wrong, but no names. */
	int shown = readiness->config->auth ? 2 : 4;
	ReadinessState state = state_of(readiness, finding[0], finding[1]);

	if (answer->findings.length > 0)
		text_add_string(&answer->findings, ",");
	for (int i = 0; i < shown; i++)
	{
		text_addf(&answer->findings, "%s\"%s\":", i == 0 ? "{" : ",", names[i]);
		text_add_json(&answer->findings, finding[i], strlen(finding[i]));
	}
	text_add_string(&answer->findings, "}");
	text_addf(&readiness->names, "%s\n", finding[0]);
	text_addf(&readiness->lines,
			  "%c%s. %s %s\n",
			  state == READINESS_NOT_READY ? 'e' : 'w',
			  finding[0],
			  finding[2],
			  finding[3]);
	set_state(answer, state, finding[0]);
}

/*
 * An event that is stored is processed later. But without preloading no request
 * of a key can be served, because the tenant cannot be set.
 */
static ReadinessState
state_of(const Readiness *readiness, const char *finding, const char *severity)
{
	bool stored = strcmp(severity, "error") != 0;

	for (size_t i = 0; i < sizeof(not_processed) / sizeof(not_processed[0]);
		 i++)
		stored = stored || strcmp(finding, not_processed[i]) == 0;
	if (readiness->config->auth && !readiness->session.scoped)
		stored = false;
	return stored ? READINESS_DEGRADED : READINESS_NOT_READY;
}

/* The worst state and the first reason for it. */
static void
set_state(ReadinessAnswer *answer, ReadinessState state, const char *why)
{
	if (state <= answer->state)
		return;
	answer->state = state;
	answer->why.length = 0;
	text_add_string(&answer->why, why);
}

/* Logs what is missing, with what to do, when that has changed. */
static void
log_changes(Readiness *readiness, const ReadinessAnswer *answer)
{
	const char *names =
		readiness->names.data != NULL ? readiness->names.data : "";
	const char *logged =
		readiness->logged.data != NULL ? readiness->logged.data : "";
	char *rest = readiness->lines.data;
	const char *line;

	if (strcmp(names, logged) == 0)
		return;
	if (names[0] == '\0')
		log_event(readiness->log, LOG_INFO, "ready");
	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL)
	{
		if (line[0] != '\0')
			log_event(readiness->log,
					  line[0] == 'e' ? LOG_ERROR : LOG_WARN,
					  "%s: %s",
					  answer->state == READINESS_NOT_READY ? "not ready"
														   : "degraded",
					  line + 1);
	}
	readiness->logged.length = 0;
	text_add_string(&readiness->logged, names);
}

static void
free_answer(ReadinessAnswer *answer)
{
	text_free(&answer->why);
	text_free(&answer->findings);
	memset(answer, 0, sizeof(*answer));
}

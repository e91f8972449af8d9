/*
 * call.c: the one statement that a handler runs.
 */
#include <stdio.h>
#include <string.h>

#include "db/pool.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/call.h"

/* How long a client waits before it sends to a busy conversation again. */
#define BUSY_RETRY_SECS 1

static PoolClass class_of(const Request *request);
static bool count_result(Request *request, const PGresult *result);
static bool
reply_busy(Request *request, PoolClass class, const QueryOutcome *outcome);
static void
reply_query_error(Request *request, const QueryOutcome *outcome, bool content);

PGresult *
call_database(Request *request,
			  const char *sql,
			  int count,
			  const char *const *values,
			  bool content)
{
	const Statement statement = {.sql = sql, .count = count, .values = values};

	return call_statement(request, &statement, content);
}

PGresult *
call_statement(Request *request, const Statement *statement, bool content)
{
	Pool *pool = request->gateway->pool;
	const char *why;
	PoolClass class = class_of(request);
	PoolConnection *connection = pool_borrow(pool, class, 0, &why);
	QueryOutcome outcome;

	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return NULL;
	}
	outcome = pool_run(connection,
					   request->caller.tenant,
					   class == POOL_RESPONSES ? request->caller.owner : "",
					   statement);
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
	{
		if (!reply_busy(request, class, &outcome))
			reply_query_error(request, &outcome, content);
	}
	else if (PQntuples(outcome.result) != 1)
		reply_error(request, 500, "internal error");
	else if (!count_result(request, outcome.result))
		reply_too_much(request);
	else
		return outcome.result;
	PQclear(outcome.result);
	return NULL;
}

/* Twice: the answer is a copy of it. */
static bool
count_result(Request *request, const PGresult *result)
{
	size_t bytes = request->body.length;

	for (int i = 0; i < PQnfields(result); i++)
		bytes += (size_t) PQgetlength(result, 0, i);
	return memory_resize(request->gateway->memory,
						 &request->memory,
						 request->client,
						 2 * bytes);
}

static PoolClass
class_of(const Request *request)
{
	switch (request->scope)
	{
		case SCOPE_INGEST:
			return POOL_INGEST;
		case SCOPE_SEND:
			return POOL_SEND;
		case SCOPE_READ:
			return POOL_READ;
		case SCOPE_RESPONSES:
			return POOL_RESPONSES;
		case SCOPE_APPEND:
		case SCOPE_CONSUME:
			return POOL_STREAMS;
		case SCOPE_NONE:
		case SCOPE_OPERATE:
			break;
	}
	return POOL_SERVICE;
}

/*
 * Answers a send that gave up waiting for a lock. If the conversation was being
 * created or removed, the context names the table of the row.
 */
static bool
reply_busy(Request *request, PoolClass class, const QueryOutcome *outcome)
{
	const char *context = PQresultErrorField(outcome->result, PG_DIAG_CONTEXT);
	bool row =
		context != NULL && strstr(context, "\"conversation_rows\"") != NULL;

	if (class != POOL_SEND || strcmp(outcome->sqlstate, "55P03") != 0)
		return false;
	reply_unavailable(request,
					  row ? "conversation is busy"
						  : "database is busy: a lock is held for too long",
					  BUSY_RETRY_SECS);
	return true;
}

static void
reply_query_error(Request *request, const QueryOutcome *outcome, bool content)
{
	const char *message = NULL;
	const char *detail = NULL;
	const char *field;

	if (outcome->result != NULL)
	{
		field = PQresultErrorField(outcome->result, PG_DIAG_COLUMN_NAME);
		snprintf(request->reply.param,
				 sizeof(request->reply.param),
				 "%s",
				 field != NULL ? field : "");
		field = PQresultErrorField(outcome->result, PG_DIAG_CONSTRAINT_NAME);
		if (strncmp(outcome->sqlstate, "MS", 2) == 0 && field != NULL)
			snprintf(request->reply.code,
					 sizeof(request->reply.code),
					 "%s",
					 field);
		message = PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_PRIMARY);
		detail = PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_DETAIL);
	}
	if (message == NULL)
		message = strncmp(outcome->sqlstate, "08", 2) == 0
					  ? "connection lost"
					  : "statement was not sent";
	reply_sqlstate(request, outcome->sqlstate, message, detail, content);
}

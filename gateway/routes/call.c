/*
 * call.c: the one statement that a handler runs.
 */
#include <stdio.h>
#include <string.h>

#include "db/pool.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/call.h"

static void
reply_query_error(Request *request, const QueryOutcome *outcome, bool content);

PGresult *
call_database(Request *request,
			  const char *sql,
			  int count,
			  const char *const *values,
			  bool content)
{
	Pool *pool = request->gateway->pool;
	const char *why;
	PoolConnection *connection = pool_borrow(pool, 0, &why);
	QueryOutcome outcome;

	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return NULL;
	}
	outcome =
		pool_query(connection, request->caller.tenant, sql, count, values);
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		reply_query_error(request, &outcome, content);
	else if (PQntuples(outcome.result) != 1)
		reply_error(request, 500, "internal error");
	else
		return outcome.result;
	PQclear(outcome.result);
	return NULL;
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
		message = PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_PRIMARY);
		detail = PQresultErrorField(outcome->result, PG_DIAG_MESSAGE_DETAIL);
	}
	if (message == NULL)
		message = strncmp(outcome->sqlstate, "08", 2) == 0
					  ? "connection lost"
					  : "statement was not sent";
	reply_sqlstate(request, outcome->sqlstate, message, detail, content);
}

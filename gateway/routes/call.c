/*
 * call.c: the one statement that a handler runs.
 */
#include <stdio.h>
#include <string.h>

#include "db/cluster.h"
#include "db/pool.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/call.h"

/* How long a client waits before it sends to a busy conversation again. */
#define BUSY_RETRY_SECS 1

typedef enum Called
{
	CALL_MADE,
	CALL_REFUSED,
	CALL_ANSWERED
} Called;

static const ClusterSlot *find_slot(const Request *request, PoolClass class);
static const char *tenant_of(const Request *request, PoolClass class);
static Called call_slot(Request *request,
						PoolClass class,
						const ClusterSlot *slot,
						const Statement *statement,
						QueryOutcome *outcome);
static Called call_pool(Request *request,
						PoolClass class,
						Pool *pool,
						const Statement *statement,
						QueryOutcome *outcome,
						const char **why);
static void reply_slot_away(Request *request, int slot);
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
	PoolClass class = class_of(request);
	const ClusterSlot *slot = find_slot(request, class);
	QueryOutcome outcome = {.result = NULL};
	Called called = CALL_REFUSED;
	const char *why = NULL;

	if (slot != NULL)
		called = call_slot(request, class, slot, statement, &outcome);
	if (called == CALL_REFUSED)
		called = call_pool(request,
						   class,
						   request->gateway->pool,
						   statement,
						   &outcome,
						   &why);
	if (called == CALL_REFUSED)
		reply_sqlstate(request, "08001", why, NULL, false);
	if (called != CALL_MADE)
		return NULL;
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

/* The slot of a cluster that is called without the router; NULL: none. */
static const ClusterSlot *
find_slot(const Request *request, PoolClass class)
{
	const char *tenant = tenant_of(request, class);

	return tenant[0] != '\0' ? cluster_find(request->gateway->cluster, tenant)
							 : NULL;
}

/* Keys, limits, sources and sums over all slots are the router's. */
static const char *
tenant_of(const Request *request, PoolClass class)
{
	if (class == POOL_SERVICE)
		return "";
	return request->caller.tenant[0] != '\0' ? request->caller.tenant
											 : request->source_tenant;
}

/*
 * Refused: the call has changed nothing, and is to be made through the router.
 * If the connection was lost, it may have been made, and the answer is that of
 * the router.
 */
static Called
call_slot(Request *request,
		  PoolClass class,
		  const ClusterSlot *slot,
		  const Statement *statement,
		  QueryOutcome *outcome)
{
	const char *why;
	Called called =
		call_pool(request, class, slot->pool, statement, outcome, &why);

	if (called == CALL_REFUSED && !pool_is_away(slot->pool))
	{
		/* Its connections are busy: the router's would be, too. */
		reply_sqlstate(request, "08001", why, NULL, false);
		return CALL_ANSWERED;
	}
	if (called == CALL_MADE && strcmp(outcome->sqlstate, "MS421") == 0)
		called = CALL_REFUSED;
	if (called == CALL_MADE && session_was_lost(outcome->sqlstate))
	{
		reply_slot_away(request, slot->number);
		called = CALL_ANSWERED;
	}
	if (called == CALL_MADE)
		return called;
	PQclear(outcome->result);
	outcome->result = NULL;
	cluster_doubt(request->gateway->cluster);
	return called;
}

/* Refused if there is no connection; *why is then a constant. */
static Called
call_pool(Request *request,
		  PoolClass class,
		  Pool *pool,
		  const Statement *statement,
		  QueryOutcome *outcome,
		  const char **why)
{
	Cluster *cluster = request->gateway->cluster;
	bool routed = pool == request->gateway->pool;
	const char *tenant = routed ? tenant_of(request, class) : "";
	PoolConnection *connection = pool_borrow(pool, class, 0, why);
	ClusterVisit visit = {.slot = -1};

	if (connection == NULL)
		return CALL_REFUSED;
	if (tenant[0] != '\0' && !cluster_enter(cluster, tenant, &visit))
	{
		pool_return(pool, connection);
		reply_slot_away(request, visit.slot);
		return CALL_ANSWERED;
	}
	*outcome = pool_run(connection,
						request->caller.tenant,
						class == POOL_RESPONSES ? request->caller.owner : "",
						statement);
	/* First, so that the next one who gets the connection is refused. */
	cluster_leave(cluster, &visit, session_was_lost(outcome->sqlstate));
	pool_return(pool, connection);
	return CALL_MADE;
}

static void
reply_slot_away(Request *request, int slot)
{
	char message[64];

	snprintf(message, sizeof(message), SLOT_AWAY, slot);
	reply_sqlstate(request,
				   "MS503",
				   message,
				   "The database of the tenant did not answer.",
				   false);
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

/*
 * probes.c: liveness and readiness.
 *
 * Liveness does not depend on the database: restarting the gateway would not
 * bring it back. Readiness does, so that a load balancer sends no requests.
 */
#include <string.h>

#include "db/pool.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/handlers.h"

/* Probes usually time out after a second: do not wait longer for the pool. */
#define READINESS_WAIT_MS 1000

static const char extension_sql[] =
	"SELECT 1 FROM pg_catalog.pg_extension WHERE extname = 'msgstore'";

void
get_health(Request *request)
{
	Text body = {0};

	text_add_string(&body, "{\"status\":\"ok\"}");
	reply_body(request, 200, NULL, &body);
}

void
get_readiness(Request *request)
{
	Pool *pool = request->gateway->pool;
	const char *why;
	PoolConnection *connection =
		pool_borrow(pool, POOL_SERVICE, READINESS_WAIT_MS, &why);
	QueryOutcome outcome;
	Text body = {0};

	if (connection == NULL)
	{
		reply_unavailable(request, why, 1);
		return;
	}
	outcome = pool_query(connection, "", extension_sql, 0, NULL);
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		reply_unavailable(request, "database is not available", 1);
	else if (PQntuples(outcome.result) == 0)
		reply_unavailable(request, "extension \"msgstore\" does not exist", 1);
	else
	{
		text_add_string(&body, "{\"status\":\"ready\"}");
		reply_body(request, 200, NULL, &body);
	}
	PQclear(outcome.result);
}

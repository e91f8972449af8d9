/*
 * statuses.c: what providers report about messages that they were given.
 *
 * A callback is no inbound event and makes no batch: it changes the status of
 * one message, and many of them for one message would wait for each other. It
 * needs no idempotency key either: each one is kept, and one that comes again
 * changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "http/reply.h"
#include "routes/routes.h"

static const char status_sql[] =
	"SELECT r.callback_id"
	" FROM (SELECT $1::jsonb AS body) AS b, msgstore.record_status("
	"b.body ->> 'channel', b.body ->> 'provider_message_id',"
	" b.body ->> 'status', b.body -> 'detail') AS r";

static bool check_strings(Request *request);

void
post_webhook_status(Request *request)
{
	Pool *pool = request->gateway->pool;
	const char *values[] = {request->body.data};
	PoolConnection *connection;
	QueryOutcome outcome;
	const char *why;

	if (!check_strings(request))
		return;
	connection = pool_borrow(pool, 0, &why);
	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return;
	}
	outcome =
		pool_query(connection, request->caller.tenant, status_sql, 1, values);
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		reply_query_error(request, &outcome, true);
	else if (PQntuples(outcome.result) != 1)
		reply_error(request, 500, "internal error");
	else
		reply_accepted(request, PQgetvalue(outcome.result, 0, 0));
	PQclear(outcome.result);
}

/* The function takes text, so only here can be seen what was none. */
static bool
check_strings(Request *request)
{
	static const char *const names[] = {"channel",
										"provider_message_id",
										"status"};
	cJSON *body =
		cJSON_ParseWithLength(request->body.data, request->body.length);
	bool valid = true;
	char message[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && valid; i++)
	{
		const cJSON *member = request_json_member(body, names[i]);

		valid =
			member == NULL || cJSON_IsNull(member) || cJSON_IsString(member);
		if (valid)
			continue;
		snprintf(message,
				 sizeof(message),
				 "field \"%s\" is not a string",
				 names[i]);
		reply_error(request, 400, message);
	}
	cJSON_Delete(body);
	return valid;
}

/*
 * statuses.c: delivery status callbacks of providers.
 *
 * They are not batched: a callback changes the status of one message, and
 * several for one message would wait for each other. They need no idempotency
 * key: every callback is kept, and a repeated one changes nothing.
 */
#include <stdio.h>

#include <cjson/cJSON.h>

#include "http/body.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

static const char status_sql[] =
	"SELECT r.callback_id"
	" FROM (SELECT $1::jsonb AS body) AS b, msgstore.record_status("
	"b.body ->> 'channel', b.body ->> 'provider_message_id',"
	" b.body ->> 'status', b.body -> 'detail') AS r";

static bool check_strings(Request *request);

void
post_webhook_status(Request *request)
{
	const char *values[] = {request->body.data};
	PGresult *row;

	if (!check_strings(request))
		return;
	row = call_database(request, status_sql, 1, values, true);
	if (row != NULL)
		reply_accepted(request, PQgetvalue(row, 0, 0), false);
	PQclear(row);
}

/* record_status takes text: only here can a number be told from a string. */
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

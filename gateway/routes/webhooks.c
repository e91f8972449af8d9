/*
 * webhooks.c: inbound events, stored in batches with those of other requests.
 */
#include <string.h>

#include "db/batch.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "routes/webhooks.h"

static void add_member(Text *json, const char *name, const char *value);

void
post_webhook_sms(Request *request)
{
	store_inbound(request, "sms", false);
}

void
post_webhook_email(Request *request)
{
	store_inbound(request, "email", false);
}

void
store_inbound(Request *request, const char *channel, bool mock)
{
	BatchItem item = {.tenant = request->caller.tenant};
	Text *json = &item.json;

	/* The body is inserted as text: it is known to be one JSON object. */
	text_add_string(json, "{\"payload\":");
	text_add(json, request->body.data, request->body.length);
	if (channel != NULL)
		add_member(json, "channel", channel);
	if (request->key[0] != '\0')
		add_member(json, "idempotency_key", request->key);
	add_member(json, "correlation_id", request->id);
	text_add_string(json, mock ? ",\"mock\":true}" : "}");
	if (json->failed)
	{
		text_free(json);
		reply_unavailable(request, "out of memory", 1);
		return;
	}
	batch_store(request->gateway->batch, &item);
	text_free(json);
	if (strcmp(item.sqlstate, "00000") == 0)
		reply_accepted(request, item.event_id);
	else
		reply_sqlstate(request, item.sqlstate, item.message, NULL, item.alone);
}

static void
add_member(Text *json, const char *name, const char *value)
{
	text_addf(json, ",\"%s\":", name);
	text_add_json(json, value, strlen(value));
}

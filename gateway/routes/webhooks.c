/*
 * webhooks.c: inbound events, stored in batches with those of other requests.
 */
#include <stdlib.h>
#include <string.h>

#include "db/batch.h"
#include "db/cluster.h"
#include "gateway.h"
#include "http/reply.h"
#include "http/server.h"
#include "metrics.h"
#include "routes/handlers.h"
#include "routes/webhooks.h"

/* An event whose answer is deferred. */
typedef struct Webhook
{
	BatchItem item;
	Request *request;
} Webhook;

static Batch *find_batch(const Request *request);
static void submit_inbound(Request *request, Batch *batch);
static void finish_inbound(BatchItem *item);
static bool
make_item(Request *request, const char *channel, bool mock, BatchItem *item);
static void set_answer(Request *request, const BatchItem *item);
static void add_member(Text *json, const char *name, const char *value);

void
post_webhook(Request *request)
{
	Batch *batch = find_batch(request);

	request->for_channel = true;
	if (server_can_defer(request) && !batch_is_idle(batch))
		submit_inbound(request, batch);
	else
		store_inbound(request, request->segment, false);
}

void
store_inbound(Request *request, const char *channel, bool mock)
{
	BatchItem item = {0};

	if (!make_item(request, channel, mock, &item))
		return;
	batch_store(find_batch(request), &item);
	set_answer(request, &item);
	text_free(&item.json);
}

static Batch *
find_batch(const Request *request)
{
	Gateway *gateway = request->gateway;
	Batch *own = cluster_batch(gateway->cluster, request->caller.tenant);

	return own != NULL ? own : gateway->batch;
}

static void
submit_inbound(Request *request, Batch *batch)
{
	Webhook *webhook = calloc(1, sizeof(*webhook));

	if (webhook == NULL)
		reply_unavailable(request, "out of memory", 1);
	else if (make_item(request, request->segment, false, &webhook->item))
	{
		webhook->item.done = finish_inbound;
		webhook->request = request;
		server_defer(request);
		batch_submit(batch, &webhook->item);
	}
	else
		free(webhook);
}

static void
finish_inbound(BatchItem *item)
{
	Webhook *webhook = (Webhook *) item;
	Request *request = webhook->request;

	set_answer(request, item);
	text_free(&item->json);
	free(webhook);
	server_answer(request);
}

/* Returns false after answering. */
static bool
make_item(Request *request, const char *channel, bool mock, BatchItem *item)
{
	Text *json = &item->json;

	item->tenant = request->caller.tenant;
	/* The body is inserted as text: it is known to be one JSON object. */
	text_add_string(json, "{\"payload\":");
	text_add(json, request->body.data, request->body.length);
	if (channel != NULL)
		add_member(json, "channel", channel);
	if (request->key[0] != '\0')
		add_member(json, "idempotency_key", request->key);
	add_member(json, "correlation_id", request->id);
	text_add_string(json, mock ? ",\"mock\":true}" : "}");
	if (!json->failed)
		return true;
	text_free(json);
	reply_unavailable(request, "out of memory", 1);
	return false;
}

static void
set_answer(Request *request, const BatchItem *item)
{
	if (strcmp(item->sqlstate, "00000") == 0)
		reply_accepted(request, item->event_id, item->duplicate);
	else
		reply_sqlstate(request,
					   item->sqlstate,
					   item->message,
					   item->detail[0] != '\0' ? item->detail : NULL,
					   item->alone);
}

/*
 * A provider that gets such an answer does not retry, or retries in vain. 5xx
 * is not a refusal: the same webhook can be accepted later.
 */
void
webhook_count_refusal(const Request *request)
{
	static const struct
	{
		int status;
		Metric metric;
	} reasons[] = {
		{401, METRIC_WEBHOOKS_REFUSED_UNAUTHORIZED},
		{403, METRIC_WEBHOOKS_REFUSED_UNAUTHORIZED},
		{404, METRIC_WEBHOOKS_REFUSED_UNKNOWN_CHANNEL},
		{408, METRIC_WEBHOOKS_REFUSED_MALFORMED},
		{409, METRIC_WEBHOOKS_REFUSED_CONFLICT},
		{413, METRIC_WEBHOOKS_REFUSED_TOO_LARGE},
		{415, METRIC_WEBHOOKS_REFUSED_MEDIA_TYPE},
		{429, METRIC_WEBHOOKS_REFUSED_RATE_LIMITED},
	};
	Metrics *metrics = request->gateway->metrics;
	int status = request->reply.status;

	if (status == 400)
		metrics_add(metrics,
					request->reply.by_database
						? METRIC_WEBHOOKS_REFUSED_INVALID
						: METRIC_WEBHOOKS_REFUSED_MALFORMED,
					1);
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
	{
		if (reasons[i].status == status)
			metrics_add(metrics, reasons[i].metric, 1);
	}
}

static void
add_member(Text *json, const char *name, const char *value)
{
	text_add_string(json, ",\"");
	text_add_string(json, name);
	text_add_string(json, "\":");
	text_add_json(json, value, strlen(value));
}

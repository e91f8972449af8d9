/*
 * metric_names.c: names, types and descriptions of all metrics without labels.
 */
#include <string.h>

#include "routes/metric_names.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define COUNTER(name, help)                                                    \
	{                                                                          \
		name, "counter", help                                                  \
	}
#define GAUGE(name, help)                                                      \
	{                                                                          \
		name, "gauge", help                                                    \
	}

/* In the order of enum Metric. */
const MetricName own_metrics[METRIC_COUNT] = {
	COUNTER("rate_limited", "Requests answered with 429."),
	COUNTER("unauthorized", "Requests answered with 401 or 403."),
	COUNTER("breaker_open", "Requests refused by an open breaker."),
	COUNTER("breaker_transitions", "Times a breaker opened or closed."),
	COUNTER("dispatch_attempts", "Outcomes of the mock provider."),
	COUNTER("dispatch_success", "Mock outcomes: success."),
	COUNTER("dispatch_rate_limited", "Mock outcomes: rate limited."),
	COUNTER("dispatch_error", "Mock outcomes: error or timeout."),
	COUNTER("provider_sms_mms_attempts", "Mock outcomes of sms-mms."),
	COUNTER("provider_sms_mms_success", "Mock sms-mms: success."),
	COUNTER("provider_sms_mms_rate_limited", "Mock sms-mms: rate limited."),
	COUNTER("provider_sms_mms_error", "Mock sms-mms: error or timeout."),
	COUNTER("provider_sms_mms_breaker_transitions",
			"Times the sms-mms breaker opened or closed."),
	COUNTER("provider_email_attempts", "Mock outcomes of email."),
	COUNTER("provider_email_success", "Mock email: success."),
	COUNTER("provider_email_rate_limited", "Mock email: rate limited."),
	COUNTER("provider_email_error", "Mock email: error or timeout."),
	COUNTER("provider_email_breaker_transitions",
			"Times the email breaker opened or closed."),
	COUNTER("invalid_routing", "Messages without a known provider."),
	COUNTER("http_requests", "Requests answered."),
	COUNTER("http_responses_2xx", "Answers with status 2xx."),
	COUNTER("http_responses_4xx", "Answers with status 4xx."),
	COUNTER("http_responses_5xx", "Answers with status 5xx."),
	GAUGE("http_connections", "Open HTTP connections."),
	COUNTER("http_connections_refused",
			"Connections refused because of the limit."),
	COUNTER("http_buffer_refused",
			"Requests refused because too much data was in flight."),
	COUNTER("batches", "Batches sent to ingest_batch."),
	COUNTER("batches_split", "Batches retried one event at a time."),
	COUNTER("webhooks_refused_malformed",
			"Webhooks that are not one JSON object, or have invalid headers."),
	COUNTER("webhooks_refused_invalid",
			"Webhooks that the database refused as invalid."),
	COUNTER("webhooks_refused_unknown_channel",
			"Webhooks for a channel that does not exist."),
	COUNTER("webhooks_refused_conflict",
			"Webhooks with the idempotency key of another one."),
	COUNTER("webhooks_refused_too_large", "Webhooks above the size limit."),
	COUNTER("webhooks_refused_media_type",
			"Webhooks of an unsupported media type or content coding."),
	COUNTER("webhooks_refused_rate_limited",
			"Webhooks refused by a rate limit."),
	COUNTER("webhooks_refused_unauthorized",
			"Webhooks without a key for their scope."),
	GAUGE("batch_waiting", "Events waiting for a batch."),
};

const MetricName database_metrics[] = {
	GAUGE("worker_queued", "Events not yet processed."),
	COUNTER("worker_claimed", "Events claimed."),
	COUNTER("worker_processed", "Events processed."),
	COUNTER("worker_error", "Failures that will be retried."),
	COUNTER("worker_dead_letter", "Events moved to dead letters."),
	GAUGE("dead_letters", "Events and messages in the dead letters."),
	GAUGE("oldest_event_age_us", "Age of the oldest event not yet processed."),
	GAUGE("workers_running", "Worker processes running."),
	COUNTER("worker_latency_sum_us", "Time from ingest to processed, summed."),
	GAUGE("worker_latency_avg_us", "Average time from ingest to processed."),
	GAUGE("worker_latency_max_us", "Longest time from ingest to processed."),
	GAUGE("worker_latency_p50_us", "Median time from ingest to processed."),
	GAUGE("worker_latency_p95_us", "95th percentile of that time."),
	GAUGE("worker_latency_p99_us", "99th percentile of that time."),
	COUNTER("conversations_created", "Conversations created."),
	COUNTER("conversations_reused",
			"Messages added to an existing conversation."),
	COUNTER("conversations_failures",
			"Messages that could not be added to one."),
	COUNTER("callbacks_unknown_status",
			"Status callbacks with an unknown status."),
	COUNTER("events_ingested", "Events stored."),
	COUNTER("events_duplicate", "Duplicate events ignored."),
	COUNTER("events_conflicting", "Duplicates with different content."),
	COUNTER("events_refused_channel", "Events refused: channel."),
	COUNTER("events_refused_key", "Events refused: idempotency key."),
	COUNTER("events_refused_payload", "Events refused: not an object."),
	COUNTER("events_refused_size", "Events refused: too large."),
	COUNTER("events_refused_type", "Events refused: type."),
	COUNTER("events_refused_address", "Events refused: from or to."),
	COUNTER("events_refused_provider_id", "Events refused: provider's id."),
	COUNTER("events_refused_timestamp", "Events refused: timestamp."),
	COUNTER("events_refused_body", "Events refused: body."),
	COUNTER("events_refused_attachments", "Events refused: attachments."),
	COUNTER("messages_sent", "Outbound messages stored."),
	GAUGE("ts_unix_ms", "Time of this answer."),
};

const size_t database_metrics_count = LENGTH(database_metrics);

/* The five of each class of pool.h. */
#define POOL_CLASS_METRICS(class, calls)                                       \
	GAUGE("pool_" class "_in_use", "Connections in use by " calls "."),        \
		GAUGE("pool_" class "_waiting",                                        \
			  "Waiting for a connection: " calls "."),                         \
		COUNTER("pool_" class "_waits",                                        \
				"Waits for a connection by " calls "."),                       \
		COUNTER("pool_" class "_wait_us",                                      \
				"Microseconds of these waits by " calls "."),                  \
		COUNTER("pool_" class "_timeouts",                                     \
				"Waits that ended without a connection, by " calls ".")

static const MetricName pool_metrics[] = {
	GAUGE("http_buffer_bytes", "Bytes of large bodies and answers in flight."),
	GAUGE("database_up", "1 if the database answered this request."),
	GAUGE("pool_connections", "Connections to the database."),
	GAUGE("pool_idle", "Idle connections to the database."),
	COUNTER("pool_connects", "Connections opened to the database."),
	COUNTER("pool_failures", "Failed attempts to connect."),
	POOL_CLASS_METRICS("ingest", "webhooks"),
	POOL_CLASS_METRICS("service", "keys, limits and metrics"),
	POOL_CLASS_METRICS("read", "lists"),
	POOL_CLASS_METRICS("send", "sends"),
	POOL_CLASS_METRICS("responses", "the Responses API"),
};

static const MetricName other = {"", "untyped", "Counted by the database."};

static const MetricName *
find_name(const MetricName *names, size_t count, const char *name);

const MetricName *
metric_name_find(const char *name)
{
	const MetricName *found = find_name(own_metrics, METRIC_COUNT, name);

	if (found == NULL)
		found = find_name(database_metrics, LENGTH(database_metrics), name);
	if (found == NULL)
		found = find_name(pool_metrics, LENGTH(pool_metrics), name);
	return found != NULL ? found : &other;
}

static const MetricName *
find_name(const MetricName *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
	{
		if (strcmp(names[i].name, name) == 0)
			return &names[i];
	}
	return NULL;
}

/*
 * metric_names.c: names, types and descriptions of the metrics of the flat JSON
 * object, and what they are called in the Prometheus text.
 *
 * The text follows the conventions of Prometheus: counters end in _total, units
 * are seconds and bytes, what differs in one respect is one family with a
 * label, and sums and percentiles that a query can compute are left out. The
 * metrics of the gateway begin with gateway_, because several gateways are
 * added up, while all of them show the same metrics of their database.
 */
#include "metrics.h"
#include "routes/metric_names.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

#define COUNTER(name, family, labels, help)                                    \
	{                                                                          \
		name, "gateway_" family "_total", labels, "counter", help, 1, false    \
	}
#define COUNTER_US(name, family, labels, help)                                 \
	{                                                                          \
		name, "gateway_" family "_seconds_total", labels, "counter", help,     \
			1e6, false                                                         \
	}
#define GAUGE(name, family, labels, help)                                      \
	{                                                                          \
		name, "gateway_" family, labels, "gauge", help, 1, false               \
	}
#define JSON_ONLY(name)                                                        \
	{                                                                          \
		name, NULL, NULL, NULL, NULL, 1, false                                 \
	}

#define MOCK_SEND(name, provider, outcome)                                     \
	COUNTER(name,                                                              \
			"mock_sends",                                                      \
			"provider=\"" provider "\",outcome=\"" outcome "\"",               \
			"Attempts of the mock provider by outcome.")
#define MOCK_BREAKER(name, provider)                                           \
	COUNTER(name,                                                              \
			"mock_breaker_transitions",                                        \
			"provider=\"" provider "\"",                                       \
			"Times the breaker of a mock provider opened or closed.")
#define HTTP_REQUESTS(class)                                                   \
	COUNTER("http_responses_" class,                                           \
			"http_requests",                                                   \
			"code=\"" class "\"",                                              \
			"Requests by the class of their status.")
#define WEBHOOKS_REFUSED(reason)                                               \
	COUNTER("webhooks_refused_" reason,                                        \
			"webhooks_refused",                                                \
			"reason=\"" reason "\"",                                           \
			"Webhooks refused, by reason.")

#define DATABASE_COUNTER(name, family, labels, help)                           \
	{                                                                          \
		name, family "_total", labels, "counter", help, 1, true                \
	}
#define DATABASE_GAUGE(name, family, help)                                     \
	{                                                                          \
		name, family, NULL, "gauge", help, 1, true                             \
	}
#define DATABASE_GAUGE_US(name, family, help)                                  \
	{                                                                          \
		name, family "_seconds", NULL, "gauge", help, 1e6, true                \
	}
#define DATABASE_JSON_ONLY(name)                                               \
	{                                                                          \
		name, NULL, NULL, NULL, NULL, 1, true                                  \
	}
#define STORAGE_ROWS(part)                                                     \
	{                                                                          \
		"storage_" part "_rows", "storage_rows", "part=\"" part "\"", "gauge", \
			"Responses or events of streams stored, estimated.", 1, true       \
	}
#define STORAGE_BYTES(part)                                                    \
	{                                                                          \
		"storage_" part "_bytes", "storage_bytes", "part=\"" part "\"",        \
			"gauge", "Bytes of tables and indexes, or of shared memory.", 1,   \
			true                                                               \
	}
#define EVENTS_REFUSED(reason)                                                 \
	DATABASE_COUNTER("events_refused_" reason,                                 \
					 "events_refused",                                         \
					 "reason=\"" reason "\"",                                  \
					 "Events refused, by their first fault.")

#define SOURCE_UNVERIFIED(reason)                                              \
	DATABASE_COUNTER("source_unverified_" reason,                              \
					 "source_webhooks_unverified",                             \
					 "reason=\"" reason "\"",                                  \
					 "Webhooks of sources whose signature was not accepted.")

/* The five of each class of pool.h. */
#define POOL_CLASS(class)                                                      \
	GAUGE("pool_" class "_in_use",                                             \
		  "pool_in_use_connections",                                           \
		  "class=\"" class "\"",                                               \
		  "Connections in use, by class of calls."),                           \
		GAUGE("pool_" class "_waiting",                                        \
			  "pool_waiting_requests",                                         \
			  "class=\"" class "\"",                                           \
			  "Requests waiting for a connection, by class of calls."),        \
		COUNTER("pool_" class "_waits",                                        \
				"pool_waits",                                                  \
				"class=\"" class "\"",                                         \
				"Waits for a connection, by class of calls."),                 \
		COUNTER_US("pool_" class "_wait_us",                                   \
				   "pool_wait",                                                \
				   "class=\"" class "\"",                                      \
				   "Duration of these waits, by class of calls."),             \
		COUNTER("pool_" class "_timeouts",                                     \
				"pool_timeouts",                                               \
				"class=\"" class "\"",                                         \
				"Waits that ended without a connection, by class of calls.")

const MetricName metric_names[] = {
	[METRIC_RATE_LIMITED] = COUNTER("rate_limited",
									"rate_limited",
									NULL,
									"Requests answered with 429."),
	[METRIC_UNAUTHORIZED] = COUNTER("unauthorized",
									"unauthorized",
									NULL,
									"Requests answered with 401 or 403."),
	[METRIC_BREAKER_OPEN] = COUNTER("breaker_open",
									"breaker_refused",
									NULL,
									"Requests refused by an open breaker."),
	[METRIC_BREAKER_TRANSITIONS] =
		COUNTER("breaker_transitions",
				"breaker_transitions",
				NULL,
				"Times the breaker of a route opened or closed."),
	[METRIC_DISPATCH_ATTEMPTS] = JSON_ONLY("dispatch_attempts"),
	[METRIC_DISPATCH_SUCCESS] = JSON_ONLY("dispatch_success"),
	[METRIC_DISPATCH_RATE_LIMITED] = JSON_ONLY("dispatch_rate_limited"),
	[METRIC_DISPATCH_ERROR] = JSON_ONLY("dispatch_error"),
	[METRIC_SMS_MMS_ATTEMPTS] = JSON_ONLY("provider_sms_mms_attempts"),
	[METRIC_SMS_MMS_SUCCESS] =
		MOCK_SEND("provider_sms_mms_success", "sms-mms", "success"),
	[METRIC_SMS_MMS_RATE_LIMITED] =
		MOCK_SEND("provider_sms_mms_rate_limited", "sms-mms", "rate_limited"),
	[METRIC_SMS_MMS_ERROR] =
		MOCK_SEND("provider_sms_mms_error", "sms-mms", "error"),
	[METRIC_SMS_MMS_BREAKER_TRANSITIONS] =
		MOCK_BREAKER("provider_sms_mms_breaker_transitions", "sms-mms"),
	[METRIC_EMAIL_ATTEMPTS] = JSON_ONLY("provider_email_attempts"),
	[METRIC_EMAIL_SUCCESS] =
		MOCK_SEND("provider_email_success", "email", "success"),
	[METRIC_EMAIL_RATE_LIMITED] =
		MOCK_SEND("provider_email_rate_limited", "email", "rate_limited"),
	[METRIC_EMAIL_ERROR] = MOCK_SEND("provider_email_error", "email", "error"),
	[METRIC_EMAIL_BREAKER_TRANSITIONS] =
		MOCK_BREAKER("provider_email_breaker_transitions", "email"),
	[METRIC_INVALID_ROUTING] =
		COUNTER("invalid_routing",
				"mock_invalid_routing",
				NULL,
				"Messages for which there is no mock provider."),
	[METRIC_HTTP_REQUESTS] = JSON_ONLY("http_requests"),
	[METRIC_HTTP_2XX] = HTTP_REQUESTS("2xx"),
	[METRIC_HTTP_4XX] = HTTP_REQUESTS("4xx"),
	[METRIC_HTTP_5XX] = HTTP_REQUESTS("5xx"),
	[METRIC_HTTP_CONNECTIONS] = GAUGE("http_connections",
									  "http_connections",
									  NULL,
									  "Open HTTP connections."),
	[METRIC_HTTP_CONNECTIONS_REFUSED] =
		COUNTER("http_connections_refused",
				"http_connections_refused",
				NULL,
				"Connections refused because of the limit."),
	[METRIC_HTTP_BUFFER_REFUSED] =
		COUNTER("http_buffer_refused",
				"http_buffer_refused",
				NULL,
				"Requests refused because too much data was in flight."),
	[METRIC_LISTENERS] = GAUGE("listeners",
							   "listeners",
							   NULL,
							   "Clients that follow /api/events."),
	[METRIC_LISTENERS_DROPPED] =
		COUNTER("listeners_dropped",
				"listeners_dropped",
				NULL,
				"Clients of /api/events dropped because they did not read."),
	[METRIC_BATCHES] =
		COUNTER("batches", "batches", NULL, "Batches sent to ingest_batch."),
	[METRIC_BATCHES_SPLIT] = COUNTER("batches_split",
									 "batches_split",
									 NULL,
									 "Batches retried one event at a time."),
	[METRIC_WEBHOOKS_REFUSED_MALFORMED] = WEBHOOKS_REFUSED("malformed"),
	[METRIC_WEBHOOKS_REFUSED_INVALID] = WEBHOOKS_REFUSED("invalid"),
	[METRIC_WEBHOOKS_REFUSED_UNKNOWN_CHANNEL] =
		WEBHOOKS_REFUSED("unknown_channel"),
	[METRIC_WEBHOOKS_REFUSED_CONFLICT] = WEBHOOKS_REFUSED("conflict"),
	[METRIC_WEBHOOKS_REFUSED_TOO_LARGE] = WEBHOOKS_REFUSED("too_large"),
	[METRIC_WEBHOOKS_REFUSED_MEDIA_TYPE] = WEBHOOKS_REFUSED("media_type"),
	[METRIC_WEBHOOKS_REFUSED_RATE_LIMITED] = WEBHOOKS_REFUSED("rate_limited"),
	[METRIC_WEBHOOKS_REFUSED_UNAUTHORIZED] = WEBHOOKS_REFUSED("unauthorized"),
	[METRIC_BATCH_WAITING] = GAUGE("batch_waiting",
								   "batch_waiting_events",
								   NULL,
								   "Events waiting for a batch."),

	/* Others than the counters of the gateway. */
	[METRIC_COUNT] = GAUGE("http_buffer_bytes",
						   "http_buffer_bytes",
						   NULL,
						   "Bytes of large bodies and answers in flight."),
	GAUGE("database_up",
		  "database_up",
		  NULL,
		  "1 if the database answered this request."),
	GAUGE("pool_connections",
		  "pool_connections",
		  NULL,
		  "Connections to the database."),
	GAUGE("pool_idle",
		  "pool_idle_connections",
		  NULL,
		  "Idle connections to the database."),
	COUNTER("pool_connects",
			"pool_connects",
			NULL,
			"Connections opened to the database."),
	COUNTER("pool_failures",
			"pool_connect_failures",
			NULL,
			"Failed attempts to connect to the database."),
	POOL_CLASS("ingest"),
	POOL_CLASS("service"),
	POOL_CLASS("read"),
	POOL_CLASS("send"),
	POOL_CLASS("responses"),
	POOL_CLASS("streams"),

	DATABASE_GAUGE("worker_queued",
				   "queued_events",
				   "Events not yet processed."),
	DATABASE_COUNTER("worker_claimed",
					 "events_claimed",
					 NULL,
					 "Attempts to process an event."),
	DATABASE_COUNTER("worker_processed",
					 "events_processed",
					 NULL,
					 "Events that became messages."),
	DATABASE_COUNTER("worker_error",
					 "events_failed",
					 NULL,
					 "Failed attempts that will be retried."),
	DATABASE_COUNTER("worker_dead_letter",
					 "events_dead_lettered",
					 NULL,
					 "Events moved to the dead letters."),
	DATABASE_GAUGE("dead_letters",
				   "dead_letters",
				   "Events and messages in the dead letters."),
	DATABASE_GAUGE_US("oldest_event_age_us",
					  "oldest_event_age",
					  "Age of the oldest event not yet processed."),
	DATABASE_GAUGE("workers_running",
				   "workers_running",
				   "Worker processes running."),
	DATABASE_GAUGE("workers_paused",
				   "workers_paused",
				   "1 while operators have paused the workers, or 0."),
	DATABASE_GAUGE_US(
		"search_lag_us",
		"search_lag",
		"Age of the oldest new message that a search does not find."),
	STORAGE_ROWS("responses"),
	STORAGE_ROWS("response_memory"),
	STORAGE_ROWS("streams"),
	STORAGE_BYTES("responses"),
	STORAGE_BYTES("response_memory"),
	STORAGE_BYTES("streams"),
	DATABASE_JSON_ONLY("worker_latency_sum_us"),
	DATABASE_JSON_ONLY("worker_latency_avg_us"),
	DATABASE_GAUGE_US("worker_latency_max_us",
					  "event_latency_max",
					  "Longest time from ingest to processed."),
	DATABASE_JSON_ONLY("worker_latency_p50_us"),
	DATABASE_JSON_ONLY("worker_latency_p95_us"),
	DATABASE_JSON_ONLY("worker_latency_p99_us"),
	DATABASE_COUNTER("conversations_created",
					 "conversations_created",
					 NULL,
					 "Messages that started a conversation."),
	DATABASE_COUNTER("conversations_reused",
					 "conversations_reused",
					 NULL,
					 "Messages added to an existing conversation."),
	DATABASE_COUNTER("conversations_failures",
					 "conversations_failures",
					 NULL,
					 "Failed attempts to add a message to a conversation."),
	DATABASE_COUNTER("callbacks_unknown_status",
					 "callbacks_unknown_status",
					 NULL,
					 "Status callbacks with an unknown status."),
	DATABASE_COUNTER("events_ingested",
					 "events_ingested",
					 NULL,
					 "Events stored."),
	DATABASE_COUNTER("events_duplicate",
					 "events_duplicate",
					 NULL,
					 "Duplicate events ignored."),
	DATABASE_COUNTER("events_conflicting",
					 "events_conflicting",
					 NULL,
					 "Duplicate events with different content."),
	EVENTS_REFUSED("channel"),
	EVENTS_REFUSED("key"),
	EVENTS_REFUSED("payload"),
	EVENTS_REFUSED("size"),
	EVENTS_REFUSED("type"),
	EVENTS_REFUSED("address"),
	EVENTS_REFUSED("provider_id"),
	EVENTS_REFUSED("timestamp"),
	EVENTS_REFUSED("body"),
	EVENTS_REFUSED("attachments"),
	SOURCE_UNVERIFIED("missing"),
	SOURCE_UNVERIFIED("malformed"),
	SOURCE_UNVERIFIED("mismatch"),
	SOURCE_UNVERIFIED("body_changed"),
	SOURCE_UNVERIFIED("expired"),
	SOURCE_UNVERIFIED("replayed"),
	SOURCE_UNVERIFIED("no_secret"),
	DATABASE_COUNTER("source_refused",
					 "source_webhooks_refused",
					 NULL,
					 "Verified webhooks of sources that cannot be read."),
	DATABASE_COUNTER("source_items_refused",
					 "source_items_refused",
					 NULL,
					 "Messages and statuses in webhooks of sources refused."),
	DATABASE_COUNTER("source_items_ignored",
					 "source_items_ignored",
					 NULL,
					 "Items in webhooks of sources that no rule takes."),
	DATABASE_COUNTER("messages_sent",
					 "messages_sent",
					 NULL,
					 "Outbound messages stored."),
	DATABASE_JSON_ONLY("ts_unix_ms"),
};

const size_t metric_names_count = LENGTH(metric_names);

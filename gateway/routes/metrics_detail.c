/*
 * metrics_detail.c: the part of the Prometheus text that has labels: metrics by
 * tenant and channel, by worker and by subscription, and the histogram of
 * latencies.
 *
 * The HELP and TYPE lines of a metric are written even if it has no samples,
 * so that a dashboard finds every metric on a new server.
 */
#include "routes/metrics_detail.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A field of each row, divided to get the unit that the name says. */
typedef struct Sample
{
	const char *name;
	const char *type;
	const char *help;
	const char *field;
	double divisor;
} Sample;

/* Writes the labels that identify a row. */
typedef void (*LabelWriter)(const cJSON *row, Text *out);

static const Sample channel_samples[] = {
	{"channel_events_ingested_total",
	 "counter",
	 "Events stored.",
	 "ingested",
	 1},
	{"channel_events_duplicate_total",
	 "counter",
	 "Duplicate events ignored.",
	 "duplicate",
	 1},
	{"channel_events_processed_total",
	 "counter",
	 "Events that became messages.",
	 "processed",
	 1},
	{"channel_events_failed_total",
	 "counter",
	 "Failed attempts that will be retried.",
	 "error",
	 1},
	{"channel_events_dead_lettered_total",
	 "counter",
	 "Events moved to the dead letters.",
	 "dead_letter",
	 1},
	{"channel_messages_sent_total",
	 "counter",
	 "Outbound messages stored.",
	 "sent",
	 1},
	{"channel_queued_events",
	 "gauge",
	 "Events not yet processed.",
	 "queued",
	 1},
	{"channel_dead_letters",
	 "gauge",
	 "Events and messages in the dead letters.",
	 "dead_letters",
	 1}};

static const Sample worker_samples[] = {
	{"worker_up", "gauge", "1 if the worker is running.", "up", 1},
	{"worker_batches_total",
	 "counter",
	 "Batches claimed by the worker.",
	 "batches",
	 1},
	{"worker_events_claimed_total",
	 "counter",
	 "Attempts of the worker to process an event.",
	 "claimed",
	 1},
	{"worker_events_processed_total",
	 "counter",
	 "Events that became messages.",
	 "processed",
	 1},
	{"worker_events_failed_total",
	 "counter",
	 "Failed attempts that will be retried.",
	 "errors",
	 1},
	{"worker_events_dead_lettered_total",
	 "counter",
	 "Events moved to the dead letters.",
	 "dead_letters",
	 1},
	{"worker_busy_seconds_total",
	 "counter",
	 "Time the worker spent working.",
	 "busy_us",
	 1e6},
	{"worker_idle_seconds_total",
	 "counter",
	 "Time the worker spent waiting for work.",
	 "idle_us",
	 1e6}};

static const Sample subscription_samples[] = {
	{"subscription_lag_events",
	 "gauge",
	 "Events that the subscription has not acknowledged, up to 100000.",
	 "lag_events",
	 1},
	{"subscription_lag_seconds",
	 "gauge",
	 "Age of the oldest event that it has not acknowledged.",
	 "lag_seconds",
	 1},
	{"subscription_parked_events",
	 "gauge",
	 "Events that it has parked.",
	 "parked_events",
	 1},
	{"subscription_last_fetch_timestamp_seconds",
	 "gauge",
	 "Unix time of its last fetch, 0 if there was none.",
	 "last_fetch",
	 1}};

static const Sample projection_samples[] = {
	{"projection_failed_attempts",
	 "gauge",
	 "Failed attempts to apply the next event, and the one in progress.",
	 "attempts",
	 1},
	{"projection_paused",
	 "gauge",
	 "1 if the projection is paused.",
	 "paused",
	 1}};

/* Of a router. */
static const Sample slot_samples[] = {
	{"slot_up", "gauge", "1 if the database of the slot answers.", "up", 1},
	{"slot_events_queued",
	 "gauge",
	 "Events of the slot that are not yet processed.",
	 "queued",
	 1},
	{"slot_dead_letters",
	 "gauge",
	 "Events and messages in the dead letters of the slot.",
	 "dead_letters",
	 1},
	{"slot_oldest_event_age_seconds",
	 "gauge",
	 "Age of the oldest event of the slot that is not yet processed.",
	 "oldest_event_age_us",
	 1e6},
	{"slot_workers_running",
	 "gauge",
	 "Workers of the slot that are running.",
	 "workers_running",
	 1}};

static void write_samples(const cJSON *rows,
						  const Sample *samples,
						  size_t count,
						  LabelWriter write_labels,
						  Text *out);
static void label_channel(const cJSON *channel, Text *out);
static void label_worker(const cJSON *worker, Text *out);
static void label_slot(const cJSON *slot, Text *out);
static void label_subscription(const cJSON *subscription, Text *out);
static void write_tenants(const cJSON *channels, Text *out);
static void write_latencies(const cJSON *latencies, double sum_us, Text *out);
static void
write_label(const char *name, const cJSON *row, const char *field, Text *out);
static double number_of(const cJSON *object, const char *field);

void
metrics_write_detail(const cJSON *all, const cJSON *detail, Text *out)
{
	const cJSON *channels = cJSON_GetObjectItem(detail, "channels");
	const cJSON *slots = cJSON_GetObjectItem(detail, "slots");

	if (slots != NULL)
		write_samples(slots,
					  slot_samples,
					  LENGTH(slot_samples),
					  label_slot,
					  out);
	write_samples(channels,
				  channel_samples,
				  LENGTH(channel_samples),
				  label_channel,
				  out);
	write_tenants(channels, out);
	write_samples(cJSON_GetObjectItem(detail, "workers"),
				  worker_samples,
				  LENGTH(worker_samples),
				  label_worker,
				  out);
	write_samples(cJSON_GetObjectItem(detail, "subscriptions"),
				  subscription_samples,
				  LENGTH(subscription_samples),
				  label_subscription,
				  out);
	write_samples(cJSON_GetObjectItem(detail, "projections"),
				  projection_samples,
				  LENGTH(projection_samples),
				  label_subscription,
				  out);
	write_latencies(cJSON_GetObjectItem(detail, "latency"),
					number_of(all, "worker_latency_sum_us"),
					out);
}

void
metrics_write_head(const char *name,
				   const char *type,
				   const char *help,
				   Text *out)
{
	text_addf(out,
			  "# HELP msgstore_%s %s\n# TYPE msgstore_%s %s\n",
			  name,
			  help,
			  name,
			  type);
}

static void
write_samples(const cJSON *rows,
			  const Sample *samples,
			  size_t count,
			  LabelWriter write_labels,
			  Text *out)
{
	const cJSON *row;

	for (size_t i = 0; i < count; i++)
	{
		metrics_write_head(samples[i].name,
						   samples[i].type,
						   samples[i].help,
						   out);
		cJSON_ArrayForEach(row, rows)
		{
			text_addf(out, "msgstore_%s{", samples[i].name);
			write_labels(row, out);
			text_addf(out,
					  samples[i].divisor == 1 ? "} %.0f\n" : "} %.6f\n",
					  number_of(row, samples[i].field) / samples[i].divisor);
		}
	}
}

static void
label_channel(const cJSON *channel, Text *out)
{
	write_label("tenant", channel, "tenant_id", out);
	text_add_string(out, ",");
	write_label("channel", channel, "channel", out);
}

static void
label_worker(const cJSON *worker, Text *out)
{
	if (cJSON_HasObjectItem(worker, "slot"))
	{
		label_slot(worker, out);
		text_add_string(out, ",");
	}
	text_addf(out, "worker=\"%.0f\"", number_of(worker, "worker"));
}

static void
label_slot(const cJSON *slot, Text *out)
{
	text_addf(out, "slot=\"%.0f\"", number_of(slot, "slot"));
}

static void
label_subscription(const cJSON *subscription, Text *out)
{
	write_label("tenant", subscription, "tenant_id", out);
	text_add_string(out, ",");
	write_label("subscription", subscription, "name", out);
}

/* Channels of a tenant are adjacent; some of them have the tenant's age. */
static void
write_tenants(const cJSON *channels, Text *out)
{
	static const char name[] = "tenant_oldest_event_age_seconds";
	const cJSON *channel;
	double oldest_us = 0;

	metrics_write_head(name,
					   "gauge",
					   "Age of the tenant's oldest event not yet processed.",
					   out);
	cJSON_ArrayForEach(channel, channels)
	{
		double age_us = number_of(channel, "tenant_oldest_event_age_us");

		oldest_us = age_us > oldest_us ? age_us : oldest_us;
		if (channel->next != NULL &&
			cJSON_Compare(cJSON_GetObjectItem(channel, "tenant_id"),
						  cJSON_GetObjectItem(channel->next, "tenant_id"),
						  true))
			continue;
		text_addf(out, "msgstore_%s{", name);
		write_label("tenant", channel, "tenant_id", out);
		text_addf(out, "} %.6f\n", oldest_us / 1e6);
		oldest_us = 0;
	}
}

/* The counts are cumulative; the last one is the total. */
static void
write_latencies(const cJSON *latencies, double sum_us, Text *out)
{
	static const char name[] = "event_latency_seconds";
	const cJSON *bucket;
	double count = 0;

	metrics_write_head(name,
					   "histogram",
					   "Time from ingest to processed.",
					   out);
	cJSON_ArrayForEach(bucket, latencies)
	{
		count = number_of(bucket, "count");
		text_addf(out,
				  "msgstore_%s_bucket{le=\"%.6f\"} %.0f\n",
				  name,
				  number_of(bucket, "le_us") / 1e6,
				  count);
	}
	text_addf(out, "msgstore_%s_bucket{le=\"+Inf\"} %.0f\n", name, count);
	text_addf(out, "msgstore_%s_sum %.6f\n", name, sum_us / 1e6);
	text_addf(out, "msgstore_%s_count %.0f\n", name, count);
}

/* Escapes backslash, quote and line feed, as the text format requires. */
static void
write_label(const char *name, const cJSON *row, const char *field, Text *out)
{
	const char *c = cJSON_GetStringValue(cJSON_GetObjectItem(row, field));

	text_addf(out, "%s=\"", name);
	for (; c != NULL && *c != '\0'; c++)
	{
		if (*c == '\n')
			text_add_string(out, "\\n");
		else
		{
			if (*c == '\\' || *c == '"')
				text_add_string(out, "\\");
			text_add(out, c, 1);
		}
	}
	text_add_string(out, "\"");
}

/* A missing number is 0, true is 1. */
static double
number_of(const cJSON *object, const char *field)
{
	const cJSON *item = cJSON_GetObjectItem(object, field);

	if (cJSON_IsTrue(item))
		return 1;
	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

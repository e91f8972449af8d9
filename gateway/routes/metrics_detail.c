/*
 * metrics_detail.c: the part of the Prometheus text that has labels: what is
 * counted of each tenant's channel and of each worker, and the histogram of
 * latencies.
 *
 * A name's head is written even when there is no sample of it, so that a
 * dashboard finds all names on a new server.
 */
#include "routes/metrics_detail.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A number of each row, divided into the unit of the name. */
typedef struct Sample
{
	const char *name;
	const char *type;
	const char *help;
	const char *field;
	double divisor;
} Sample;

/* Numbers of each row that are told apart by the label "outcome". */
typedef struct Outcome
{
	const char *outcome;
	const char *field;
} Outcome;

/* Writes the labels that tell a row from the others. */
typedef void (*LabelWriter)(const cJSON *row, Text *out);

static const Outcome channel_outcomes[] = {{"ingested", "ingested"},
										   {"duplicate", "duplicate"},
										   {"processed", "processed"},
										   {"error", "error"},
										   {"dead_letter", "dead_letter"},
										   {"sent", "sent"}};

static const Outcome worker_outcomes[] = {{"claimed", "claimed"},
										  {"processed", "processed"},
										  {"error", "errors"},
										  {"dead_letter", "dead_letters"}};

static const Sample channel_samples[] = {
	{"queue_depth", "gauge", "Events not yet processed.", "queued", 1},
	{"channel_dead_letters",
	 "gauge",
	 "Events and messages given up and kept.",
	 "dead_letters",
	 1}};

static const Sample worker_samples[] = {
	{"worker_up", "gauge", "1 if the worker has a process.", "up", 1},
	{"worker_batches_total",
	 "counter",
	 "Batches that the worker claimed.",
	 "batches",
	 1},
	{"worker_busy_seconds_total",
	 "counter",
	 "Time in which the worker worked.",
	 "busy_us",
	 1e6},
	{"worker_idle_seconds_total",
	 "counter",
	 "Time in which the worker waited for work.",
	 "idle_us",
	 1e6}};

static void write_outcomes(const cJSON *rows,
						   const char *name,
						   const char *help,
						   const Outcome *outcomes,
						   size_t count,
						   LabelWriter write_labels,
						   Text *out);
static void write_samples(const cJSON *rows,
						  const Sample *samples,
						  size_t count,
						  LabelWriter write_labels,
						  Text *out);
static void label_channel(const cJSON *channel, Text *out);
static void label_worker(const cJSON *worker, Text *out);
static void write_tenants(const cJSON *channels, Text *out);
static void write_latencies(const cJSON *latencies, double sum_us, Text *out);
static void
write_label(const char *name, const cJSON *row, const char *field, Text *out);
static double number_of(const cJSON *object, const char *field);

void
metrics_write_detail(const cJSON *all, const cJSON *detail, Text *out)
{
	const cJSON *channels = cJSON_GetObjectItem(detail, "channels");
	const cJSON *workers = cJSON_GetObjectItem(detail, "workers");

	write_outcomes(channels,
				   "channel_events_total",
				   "Events of a tenant's channel, and messages sent.",
				   channel_outcomes,
				   LENGTH(channel_outcomes),
				   label_channel,
				   out);
	write_samples(channels,
				  channel_samples,
				  LENGTH(channel_samples),
				  label_channel,
				  out);
	write_tenants(channels, out);
	write_outcomes(workers,
				   "worker_events_total",
				   "Events of a worker.",
				   worker_outcomes,
				   LENGTH(worker_outcomes),
				   label_worker,
				   out);
	write_samples(workers,
				  worker_samples,
				  LENGTH(worker_samples),
				  label_worker,
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
write_outcomes(const cJSON *rows,
			   const char *name,
			   const char *help,
			   const Outcome *outcomes,
			   size_t count,
			   LabelWriter write_labels,
			   Text *out)
{
	const cJSON *row;

	metrics_write_head(name, "counter", help, out);
	cJSON_ArrayForEach(row, rows)
	{
		for (size_t i = 0; i < count; i++)
		{
			text_addf(out, "msgstore_%s{", name);
			write_labels(row, out);
			text_addf(out,
					  ",outcome=\"%s\"} %.0f\n",
					  outcomes[i].outcome,
					  number_of(row, outcomes[i].field));
		}
	}
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
	text_addf(out, "worker=\"%.0f\"", number_of(worker, "worker"));
}

/* The channels of a tenant stand together; each has the tenant's age or 0. */
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

/* The counts are cumulative, and the last one is of all. */
static void
write_latencies(const cJSON *latencies, double sum_us, Text *out)
{
	static const char name[] = "worker_latency_seconds";
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

/* Backslash, quote and end of line are escaped; all else stands as it is. */
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

/* 0 where there is none; a truth is 1. */
static double
number_of(const cJSON *object, const char *field)
{
	const cJSON *item = cJSON_GetObjectItem(object, field);

	if (cJSON_IsTrue(item))
		return 1;
	return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

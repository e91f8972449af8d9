/*
 * metrics.c: the metrics of the database and of the gateway, as one list.
 *
 * Each request asks the database, so SQL and HTTP agree. While the database is
 * away its metrics keep their last values, so every name is always present and
 * no counter decreases. The flat JSON object and the Prometheus text show the
 * same values under names of their own (metric_names.c); the text adds those by
 * channel and worker, and a histogram. What a newer extension reports, and this
 * table does not know, only JSON shows.
 *
 * A tenant's key sees only the database's metrics of that tenant: totals, and
 * the gateway's own counters, would reveal other tenants' activity. A tenant's
 * values are not kept, so they cannot be shown to another tenant later.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "db/pool.h"
#include "gateway.h"
#include "guard/sources.h"
#include "http/headers.h"
#include "http/reply.h"
#include "metrics.h"
#include "routes/handlers.h"
#include "routes/metric_names.h"
#include "routes/metrics_detail.h"

#define METRICS_WAIT_MS 1000

/* Only the Prometheus text shows the detail. */
static const char json_sql[] = "SELECT msgstore.metrics(), NULL";
static const char text_sql[] =
	"SELECT msgstore.metrics(), msgstore.metrics_detail()";

/* The database's answer; detail is NULL if it was not requested. */
typedef struct Answer
{
	bool up;
	cJSON *all;
	cJSON *detail;
} Answer;

static bool collect(Request *request, bool with_detail, Answer *answer);
static void ask_database(Request *request, bool with_detail, Answer *answer);
static void keep_answer(char **kept, const PGresult *result, int column);
static void add_own(Gateway *gateway, cJSON *all, bool up);
static void
add_class(cJSON *all, const char *class, const PoolClassCounts *counts);
static void set_number(cJSON *all, const char *name, double value);
static void write_json(const cJSON *all, Text *out);
static void write_prometheus(const cJSON *all, Text *out);
static void write_sources(Sources *sources, Text *out);
static void write_family(const cJSON *all, size_t begin, Text *out);

/*
 * Text, unless the client prefers JSON, or accepts both equally and names only
 * JSON: Prometheus asks for text, curl accepts anything, programs ask for JSON.
 */
void
get_metrics(Request *request)
{
	bool json_named;
	bool text_named;
	int json = request_accepts(request, "application/json", &json_named);
	int text = request_accepts(request, "text/plain", &text_named);
	bool as_json = json > text || (json == text && json_named && !text_named);
	Answer answer = {0};
	Text body = {0};

	if (!collect(request, !as_json, &answer))
		reply_unavailable(request, "out of memory", 1);
	else if (as_json)
	{
		write_json(answer.all, &body);
		reply_body(request, 200, NULL, &body);
	}
	else
	{
		write_prometheus(answer.all, &body);
		metrics_write_detail(answer.all, answer.detail, &body);
		if (request->caller.tenant[0] == '\0')
			write_sources(request->gateway->sources, &body);
		reply_body(request,
				   200,
				   "text/plain; version=0.0.4; charset=utf-8",
				   &body);
	}
	cJSON_Delete(answer.all);
	cJSON_Delete(answer.detail);
}

static bool
collect(Request *request, bool with_detail, Answer *answer)
{
	ask_database(request, with_detail, answer);
	if (answer->all == NULL)
		return false;
	if (request->caller.tenant[0] != '\0')
	{
		set_number(answer->all, "database_up", answer->up);
		return true;
	}
	for (size_t i = 0; i < metric_names_count; i++)
	{
		if (metric_names[i].of_database &&
			!cJSON_HasObjectItem(answer->all, metric_names[i].name))
			set_number(answer->all, metric_names[i].name, 0);
	}
	add_own(request->gateway, answer->all, answer->up);
	return true;
}

static void
ask_database(Request *request, bool with_detail, Answer *answer)
{
	Metrics *metrics = request->gateway->metrics;
	Pool *pool = request->gateway->pool;
	const char *tenant = request->caller.tenant;
	const char *why;
	PoolConnection *connection =
		pool_borrow(pool, POOL_SERVICE, METRICS_WAIT_MS, &why);
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08001"};

	if (connection != NULL)
	{
		outcome = pool_query(connection,
							 tenant,
							 with_detail ? text_sql : json_sql,
							 0,
							 NULL);
		pool_return(pool, connection);
	}
	answer->up = strcmp(outcome.sqlstate, "00000") == 0 &&
				 PQntuples(outcome.result) == 1;
	if (tenant[0] != '\0')
	{
		answer->all =
			cJSON_Parse(answer->up ? PQgetvalue(outcome.result, 0, 0) : "{}");
		if (with_detail && answer->up)
			answer->detail = cJSON_Parse(PQgetvalue(outcome.result, 0, 1));
		PQclear(outcome.result);
		return;
	}
	pthread_mutex_lock(&metrics->mutex);
	if (answer->up)
	{
		keep_answer(&metrics->last_known, outcome.result, 0);
		keep_answer(&metrics->last_detail, outcome.result, 1);
	}
	answer->all =
		cJSON_Parse(metrics->last_known != NULL ? metrics->last_known : "{}");
	if (with_detail && metrics->last_detail != NULL)
		answer->detail = cJSON_Parse(metrics->last_detail);
	pthread_mutex_unlock(&metrics->mutex);
	PQclear(outcome.result);
}

/* NULL was not requested: the last value is kept. */
static void
keep_answer(char **kept, const PGresult *result, int column)
{
	if (PQgetisnull(result, 0, column))
		return;
	free(*kept);
	*kept = strdup(PQgetvalue(result, 0, column));
}

static void
add_own(Gateway *gateway, cJSON *all, bool up)
{
	PoolCounts counts = pool_counts(gateway->pool);
	struct timespec now;

	for (int i = 0; i < METRIC_COUNT; i++)
		set_number(all,
				   metric_names[i].name,
				   (double) atomic_load(&gateway->metrics->values[i]));
	clock_gettime(CLOCK_REALTIME, &now);
	set_number(all,
			   "ts_unix_ms",
			   (double) now.tv_sec * 1000 + (double) (now.tv_nsec / 1000000));
	set_number(all, "database_up", up);
	set_number(all, "http_buffer_bytes", (double) memory_used(gateway->memory));
	set_number(all, "pool_connections", (double) counts.connections);
	set_number(all, "pool_idle", (double) counts.idle);
	set_number(all, "pool_connects", (double) counts.connects);
	set_number(all, "pool_failures", (double) counts.failures);
	for (int i = 0; i < POOL_CLASSES; i++)
		add_class(all, pool_class_names[i], &counts.classes[i]);
}

static void
add_class(cJSON *all, const char *class, const PoolClassCounts *counts)
{
	const struct
	{
		const char *name;
		unsigned long long value;
	} numbers[] = {{"in_use", counts->in_use},
				   {"waiting", counts->waiting},
				   {"waits", counts->waits},
				   {"wait_us", counts->wait_us},
				   {"timeouts", counts->timeouts}};
	char name[64];

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		snprintf(name, sizeof(name), "pool_%s_%s", class, numbers[i].name);
		set_number(all, name, (double) numbers[i].value);
	}
}

static void
set_number(cJSON *all, const char *name, double value)
{
	cJSON_DeleteItemFromObjectCaseSensitive(all, name);
	cJSON_AddNumberToObject(all, name, value);
}

static void
write_sources(Sources *sources, Text *out)
{
	static const char name[] = "gateway_source_webhooks_total";

	metrics_write_head(name, "counter", "Webhooks of sources by outcome.", out);
	sources_write_counts(sources, name, out);
}

/* Not by cJSON, which prints whole numbers of more than 15 digits as floats. */
static void
write_json(const cJSON *all, Text *out)
{
	const cJSON *member;
	bool first = true;

	cJSON_ArrayForEach(member, all)
	{
		if (!cJSON_IsNumber(member))
			continue;
		text_add_string(out, first ? "{" : ",");
		text_add_json(out, member->string, strlen(member->string));
		text_addf(out, ":%.0f", member->valuedouble);
		first = false;
	}
	text_add_string(out, "}");
}

/* Samples of a family must be adjacent, but need not be so in the table. */
static void
write_prometheus(const cJSON *all, Text *out)
{
	for (size_t i = 0; i < metric_names_count; i++)
	{
		const MetricName *name = &metric_names[i];
		bool first = name->family != NULL;

		for (size_t j = 0; j < i && first; j++)
			first = metric_names[j].family == NULL ||
					strcmp(metric_names[j].family, name->family) != 0;
		if (first)
			write_family(all, i, out);
	}
}

/* A family that begins there in the table; a tenant's key does not see all. */
static void
write_family(const cJSON *all, size_t begin, Text *out)
{
	const MetricName *head = &metric_names[begin];
	bool empty = true;

	for (size_t i = begin; i < metric_names_count; i++)
	{
		const MetricName *name = &metric_names[i];
		const cJSON *value = cJSON_GetObjectItem(all, name->name);

		if (name->family == NULL || strcmp(name->family, head->family) != 0 ||
			!cJSON_IsNumber(value))
			continue;
		if (empty)
			metrics_write_head(head->family, head->type, head->help, out);
		empty = false;
		text_addf(out, "msgstore_%s", name->family);
		if (name->labels != NULL)
			text_addf(out, "{%s}", name->labels);
		text_addf(out,
				  name->divisor == 1 ? " %.0f\n" : " %.6f\n",
				  value->valuedouble / name->divisor);
	}
}

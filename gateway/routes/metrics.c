/*
 * metrics.c: the database's counters and the gateway's own, as one object.
 *
 * The database is asked each time, so SQL and HTTP agree. While it is away
 * its counters keep the values they last had: every name is always there, and
 * none falls. The flat JSON object and the Prometheus text say the same; the
 * text has more: what is counted of each channel and worker, and a histogram,
 * which only labels can tell apart.
 *
 * A key of one tenant is shown what the database counts for that tenant: what
 * is counted of all, by the gateway too, tells of the others. Nothing of it is
 * kept, so it cannot be shown to another one later.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "http/reply.h"
#include "routes/metrics_detail.h"
#include "routes/routes.h"

#define METRICS_WAIT_MS 1000

typedef struct Description
{
	const char *name;
	const char *type; /* as Prometheus calls it */
	const char *help;
} Description;

#define COUNTER(name, help)                                                    \
	{                                                                          \
		name, "counter", help                                                  \
	}
#define GAUGE(name, help)                                                      \
	{                                                                          \
		name, "gauge", help                                                    \
	}

/* In the order of enum Metric. */
static const Description own[METRIC_COUNT] = {
	COUNTER("rate_limited", "Requests answered with 429."),
	COUNTER("unauthorized", "Requests answered with 401 or 403."),
	COUNTER("breaker_open", "Requests turned away by an open breaker."),
	COUNTER("breaker_transitions", "Breakers opened or closed."),
	COUNTER("dispatch_attempts", "Outcomes rolled by the mock provider."),
	COUNTER("dispatch_success", "Mock outcomes: success."),
	COUNTER("dispatch_rate_limited", "Mock outcomes: rate limited."),
	COUNTER("dispatch_error", "Mock outcomes: error or time-out."),
	COUNTER("provider_sms_mms_attempts", "Mock outcomes of sms-mms."),
	COUNTER("provider_sms_mms_success", "Mock sms-mms: success."),
	COUNTER("provider_sms_mms_rate_limited", "Mock sms-mms: rate limited."),
	COUNTER("provider_sms_mms_error", "Mock sms-mms: error or time-out."),
	COUNTER("provider_sms_mms_breaker_transitions",
			"Breaker of sms-mms moved."),
	COUNTER("provider_email_attempts", "Mock outcomes of email."),
	COUNTER("provider_email_success", "Mock email: success."),
	COUNTER("provider_email_rate_limited", "Mock email: rate limited."),
	COUNTER("provider_email_error", "Mock email: error or time-out."),
	COUNTER("provider_email_breaker_transitions", "Breaker of email moved."),
	COUNTER("invalid_routing", "Messages without a provider that is known."),
	COUNTER("http_requests", "Requests answered."),
	COUNTER("http_responses_2xx", "Answers of success."),
	COUNTER("http_responses_4xx", "Answers that refuse the request."),
	COUNTER("http_responses_5xx", "Answers of failure."),
	GAUGE("http_connections", "Open HTTP connections."),
	COUNTER("http_connections_refused", "Connections beyond the limit."),
	COUNTER("batches", "Calls of ingest_batch."),
	COUNTER("batches_split", "Batches sent again one item at a time."),
};

/* What the database counts; names that are not here are shown as well. */
static const Description database[] = {
	GAUGE("worker_queued", "Events not yet processed."),
	COUNTER("worker_claimed", "Events claimed."),
	COUNTER("worker_processed", "Events processed."),
	COUNTER("worker_error", "Failures that will be retried."),
	COUNTER("worker_dead_letter", "Events moved to dead letters."),
	GAUGE("dead_letters", "Events and messages given up and kept."),
	GAUGE("oldest_event_age_us", "Age of the oldest event not yet processed."),
	GAUGE("workers_running", "Workers of the database with a process."),
	COUNTER("worker_latency_sum_us", "Time from ingest to processed, summed."),
	GAUGE("worker_latency_avg_us", "Average time from ingest to processed."),
	GAUGE("worker_latency_max_us", "Longest time from ingest to processed."),
	GAUGE("worker_latency_p50_us", "Median time from ingest to processed."),
	GAUGE("worker_latency_p95_us", "95th percentile of that time."),
	GAUGE("worker_latency_p99_us", "99th percentile of that time."),
	COUNTER("conversations_created", "Conversations created."),
	COUNTER("conversations_reused", "Messages added to a conversation."),
	COUNTER("conversations_failures", "Messages that could not be added."),
	COUNTER("events_ingested", "Events stored."),
	COUNTER("events_duplicate", "Events that were there already."),
	COUNTER("messages_sent", "Outbound messages stored."),
	GAUGE("ts_unix_ms", "Time of this answer."),
};

#define DATABASE_COUNT (sizeof(database) / sizeof(database[0]))

/* Only the text shows the detail. */
static const char json_sql[] = "SELECT msgstore.metrics(), NULL";
static const char text_sql[] =
	"SELECT msgstore.metrics(), msgstore.metrics_detail()";

/* What the database said; detail is NULL when it was not asked for it. */
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
static void set_number(cJSON *all, const char *name, double value);
static void write_json(const cJSON *all, Text *out);
static void write_prometheus(const cJSON *all, Text *out);
static const Description *describe(const char *name);

void
metrics_init(Metrics *metrics)
{
	for (int i = 0; i < METRIC_COUNT; i++)
		atomic_init(&metrics->values[i], 0);
	pthread_mutex_init(&metrics->mutex, NULL);
}

void
metrics_free(Metrics *metrics)
{
	pthread_mutex_destroy(&metrics->mutex);
	free(metrics->last_known);
	free(metrics->last_detail);
}

void
metrics_add(Metrics *metrics, Metric metric, long long amount)
{
	atomic_fetch_add_explicit(&metrics->values[metric],
							  amount,
							  memory_order_relaxed);
}

/*
 * Text unless JSON is wanted more, or as much and by its name: a scraper asks
 * for text, curl for anything, a program for JSON.
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
	for (size_t i = 0; i < DATABASE_COUNT; i++)
	{
		if (!cJSON_HasObjectItem(answer->all, database[i].name))
			set_number(answer->all, database[i].name, 0);
	}
	add_own(request->gateway, answer->all, answer->up);
	return true;
}

static void
ask_database(Request *request, bool with_detail, Answer *answer)
{
	Metrics *metrics = &request->gateway->metrics;
	Pool *pool = request->gateway->pool;
	const char *tenant = request->caller.tenant;
	const char *why;
	PoolConnection *connection = pool_borrow(pool, METRICS_WAIT_MS, &why);
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

/* What was not asked for stays what it was. */
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
				   own[i].name,
				   (double) atomic_load(&gateway->metrics.values[i]));
	clock_gettime(CLOCK_REALTIME, &now);
	set_number(all,
			   "ts_unix_ms",
			   (double) now.tv_sec * 1000 + (double) (now.tv_nsec / 1000000));
	set_number(all, "database_up", up);
	set_number(all, "pool_connections", (double) counts.connections);
	set_number(all, "pool_idle", (double) counts.idle);
	set_number(all, "pool_connects", (double) counts.connects);
	set_number(all, "pool_failures", (double) counts.failures);
}

static void
set_number(cJSON *all, const char *name, double value)
{
	cJSON_DeleteItemFromObjectCaseSensitive(all, name);
	cJSON_AddNumberToObject(all, name, value);
}

/* By hand: cJSON writes whole numbers of more than 15 digits as floats. */
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

static void
write_prometheus(const cJSON *all, Text *out)
{
	const cJSON *member;

	cJSON_ArrayForEach(member, all)
	{
		const Description *description = describe(member->string);

		if (!cJSON_IsNumber(member) ||
			strspn(member->string, "abcdefghijklmnopqrstuvwxyz0123456789_") !=
				strlen(member->string))
			continue;
		metrics_write_head(member->string,
						   description->type,
						   description->help,
						   out);
		text_addf(out,
				  "msgstore_%s %.0f\n",
				  member->string,
				  member->valuedouble);
	}
}

static const Description *
describe(const char *name)
{
	static const Description pool[] = {
		GAUGE("database_up", "1 if the database answered just now."),
		GAUGE("pool_connections", "Connections to the database."),
		GAUGE("pool_idle", "Connections to the database not in use."),
		COUNTER("pool_connects", "Connections made to the database."),
		COUNTER("pool_failures", "Attempts to connect that failed."),
		{"", "untyped", "Counted by the database."},
	};
	const size_t last = sizeof(pool) / sizeof(pool[0]) - 1;

	for (size_t i = 0; i < METRIC_COUNT; i++)
	{
		if (strcmp(own[i].name, name) == 0)
			return &own[i];
	}
	for (size_t i = 0; i < DATABASE_COUNT; i++)
	{
		if (strcmp(database[i].name, name) == 0)
			return &database[i];
	}
	for (size_t i = 0; i < last; i++)
	{
		if (strcmp(pool[i].name, name) == 0)
			return &pool[i];
	}
	return &pool[last];
}

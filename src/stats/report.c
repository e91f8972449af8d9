/*
 * stats/report.c: SQL functions for the counters and gauges of a database.
 *
 * Sessions and workers add to counters in shared memory (stats/shared.c) when
 * their transactions commit (stats/pending.c), with atomic instructions:
 * nobody waits.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "stats/gauges.h"
#include "stats/shared.h"
#include "stats/worker.h"

static const char *const counter_names[STATS_COUNTERS] = {
	"events_ingested",
	"events_duplicate",
	"events_conflicting",
	"messages_sent",
	"worker_claimed",
	"worker_processed",
	"worker_error",
	"worker_dead_letter",
	"conversations_created",
	"conversations_reused",
	"conversations_failures",
	"callbacks_unknown_status",
	"events_refused_channel",
	"events_refused_key",
	"events_refused_payload",
	"events_refused_size",
	"events_refused_type",
	"events_refused_address",
	"events_refused_provider_id",
	"events_refused_timestamp",
	"events_refused_body",
	"events_refused_attachments",
	"source_unverified_missing",
	"source_unverified_malformed",
	"source_unverified_mismatch",
	"source_unverified_body_changed",
	"source_unverified_expired",
	"source_unverified_replayed",
	"source_unverified_no_secret",
	"source_refused",
	"source_items_refused",
	"source_items_ignored"};

static const char *const gauge_names[STATS_GAUGES] = {"queued", "dead_letters"};

static int find_name(const char *const *names, int n, const text *name);
static int64 event_age(const pg_uuid_t *id);
static void put_counter(ReturnSetInfo *result, const char *name, uint64 value);
static void put_latencies(ReturnSetInfo *result, StatsDatabase *database);
static void put_channel(ReturnSetInfo *result,
						const StatsChannel *channel,
						const int64 *gauges);

PG_FUNCTION_INFO_V1(msgstore_counters);
PG_FUNCTION_INFO_V1(msgstore_channel_counters);
PG_FUNCTION_INFO_V1(msgstore_count);
PG_FUNCTION_INFO_V1(msgstore_move);
PG_FUNCTION_INFO_V1(msgstore_gauge);
PG_FUNCTION_INFO_V1(msgstore_recount);
PG_FUNCTION_INFO_V1(msgstore_event_age_us);

Datum
msgstore_counters(PG_FUNCTION_ARGS)
{
	StatsDatabase *database = stats_own_database(NULL);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StatsGauges gauges;
	int i;

	stats_read_gauges(&gauges);
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < STATS_COUNTERS; i++)
		put_counter(result,
					counter_names[i],
					pg_atomic_read_u64(&database->counters[i]));
	put_latencies(result, database);
	put_counter(result, "worker_queued", gauges.values[STATS_QUEUED]);
	put_counter(result, "dead_letters", gauges.values[STATS_DEAD]);
	put_counter(result,
				"oldest_event_age_us",
				gauges.has_oldest ? event_age(&gauges.oldest) : 0);
	put_counter(result, "workers_running", stats_workers_running());
	return (Datum) 0;
}

Datum
msgstore_channel_counters(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StatsChannel **channels;
	int64(*gauges)[STATS_GAUGES];
	int n = stats_read_channels(&channels, &gauges);
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < n; i++)
		put_channel(result, channels[i], gauges[i]);
	return (Datum) 0;
}

/* Tenant and channel are null for what is counted per database only. */
Datum
msgstore_count(PG_FUNCTION_ARGS)
{
	StatsCounter counter;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_VOID();
	counter = find_name(counter_names, STATS_COUNTERS, PG_GETARG_TEXT_PP(0));
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		stats_count(counter, PG_GETARG_INT64(1));
	else
		stats_count_for(counter,
						PG_GETARG_TEXT_PP(2),
						PG_GETARG_TEXT_PP(3),
						PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

Datum
msgstore_move(PG_FUNCTION_ARGS)
{
	stats_move(find_name(gauge_names, STATS_GAUGES, PG_GETARG_TEXT_PP(0)),
			   PG_GETARG_TEXT_PP(1),
			   PG_GETARG_TEXT_PP(2),
			   PG_GETARG_INT64(3));
	PG_RETURN_VOID();
}

Datum
msgstore_gauge(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(stats_read_gauge(
		find_name(gauge_names, STATS_GAUGES, PG_GETARG_TEXT_PP(0))));
}

Datum
msgstore_recount(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	stats_recount();
	PG_RETURN_VOID();
}

Datum
msgstore_event_age_us(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(event_age(PG_GETARG_UUID_P(0)));
}

static int
find_name(const char *const *names, int n, const text *name)
{
	int i;

	for (i = 0; i < n; i++)
	{
		if (strlen(names[i]) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(names[i], VARDATA_ANY(name), strlen(names[i])) == 0)
			return i;
	}
	elog(ERROR, "unrecognized counter or gauge \"%s\"", text_to_cstring(name));
}

/*
 * Microseconds since the id was generated. The first 48 bits of a UUID version
 * 7 are milliseconds since 1970, the 12 bits after the version a fraction of a
 * millisecond. Returns 0 for other versions.
 */
static int64
event_age(const pg_uuid_t *id)
{
	int64 made = 0;
	int fraction = (id->data[6] & 0x0f) << 8 | id->data[7];
	int i;

	if (id->data[6] >> 4 != 7)
		return 0;
	for (i = 0; i < 6; i++)
		made = made << 8 | id->data[i];
	made = made * 1000 + fraction * 1000 / 4096 -
		   (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	return Max(GetCurrentTimestamp() - made, 0);
}

static void
put_counter(ReturnSetInfo *result, const char *name, uint64 value)
{
	bool nulls[2] = {false, false};
	Datum values[2];

	values[0] = CStringGetTextDatum(name);
	values[1] = Int64GetDatum((int64) value);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
put_latencies(ReturnSetInfo *result, StatsDatabase *database)
{
	uint64 sum = pg_atomic_read_u64(&database->latency_sum);
	uint64 total = stats_latencies(database);

	put_counter(result, "worker_latency_sum_us", sum);
	put_counter(result, "worker_latency_avg_us", total > 0 ? sum / total : 0);
	put_counter(result,
				"worker_latency_max_us",
				pg_atomic_read_u64(&database->latency_max));
	put_counter(result,
				"worker_latency_p50_us",
				stats_percentile(database, 50));
	put_counter(result,
				"worker_latency_p95_us",
				stats_percentile(database, 95));
	put_counter(result,
				"worker_latency_p99_us",
				stats_percentile(database, 99));
}

static void
put_channel(ReturnSetInfo *result,
			const StatsChannel *channel,
			const int64 *gauges)
{
	bool nulls[2 + STATS_OUTCOMES + STATS_GAUGES] = {false};
	Datum values[2 + STATS_OUTCOMES + STATS_GAUGES];
	int i;

	values[0] = CStringGetTextDatum(channel->key.tenant_id);
	values[1] = CStringGetTextDatum(channel->key.channel);
	for (i = 0; i < STATS_OUTCOMES; i++)
		values[2 + i] = Int64GetDatum((int64) pg_atomic_read_u64(
			unconstify(pg_atomic_uint64 *, &channel->outcomes[i])));
	for (i = 0; i < STATS_GAUGES; i++)
		values[2 + STATS_OUTCOMES + i] = Int64GetDatum(Max(gauges[i], 0));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

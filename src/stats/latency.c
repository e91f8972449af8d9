/*
 * stats/latency.c: latency of events from acceptance to message.
 *
 * The histogram is log-linear with eight buckets per power of two, so that a
 * percentile is at most an eighth too high. A bucket holds values greater than
 * the limit of the bucket before and at most its own limit, as in Prometheus.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "port/pg_bitutils.h"
#include "utils/tuplestore.h"

#include "server/settings.h"
#include "stats/shared.h"

/* Limits in latency_histogram(): 64 microseconds to 50 days. */
#define FIRST_SHOWN_POWER 6
#define LAST_SHOWN_POWER 42

static int bucket_of(uint64 latency);
static uint64 bucket_limit(int bucket);

PG_FUNCTION_INFO_V1(msgstore_latency_histogram);

Datum
msgstore_latency_histogram(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StatsDatabase *database = stats_own_database(NULL);
	uint64 count = 0;
	int bucket = 0;
	int power;

	InitMaterializedSRF(fcinfo, 0);
	/* The histogram covers the events of all tenants. */
	if (msgstore_tenant_id[0] != '\0')
		return (Datum) 0;
	for (power = FIRST_SHOWN_POWER; power <= LAST_SHOWN_POWER; power++)
	{
		uint64 limit = (uint64) 1 << power;
		bool nulls[2] = {false, false};
		Datum values[2];

		while (bucket < STATS_HISTOGRAM_BUCKETS &&
			   bucket_limit(bucket) <= limit)
			count += pg_atomic_read_u64(&database->latencies[bucket++]);
		values[0] = Int64GetDatum((int64) limit);
		values[1] = Int64GetDatum((int64) count);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
stats_add_latency(StatsDatabase *database, int64 latency)
{
	uint64 max = pg_atomic_read_u64(&database->latency_max);

	/* The clock may have been set back in between. */
	latency = Max(latency, 0);
	pg_atomic_fetch_add_u64(&database->latencies[bucket_of(latency)], 1);
	pg_atomic_fetch_add_u64(&database->latency_sum, latency);
	while (
		max < (uint64) latency &&
		!pg_atomic_compare_exchange_u64(&database->latency_max, &max, latency))
		;
}

uint64
stats_latencies(StatsDatabase *database)
{
	uint64 total = 0;
	int i;

	for (i = 0; i < STATS_HISTOGRAM_BUCKETS; i++)
		total += pg_atomic_read_u64(&database->latencies[i]);
	return total;
}

/* The first 16 buckets are one microsecond wide. */
static int
bucket_of(uint64 latency)
{
	uint64 below = Max(latency, 1) - 1;
	int power;
	int bucket;

	if (below < 2 * STATS_STEPS_PER_POWER)
		return (int) below;
	power = pg_leftmost_one_pos64(below) - 3;
	bucket = power * STATS_STEPS_PER_POWER + (int) (below >> power);
	return Min(bucket, STATS_HISTOGRAM_BUCKETS - 1);
}

/* The greatest latency that falls into the bucket. */
static uint64
bucket_limit(int bucket)
{
	int power = bucket / STATS_STEPS_PER_POWER - 1;

	if (bucket < 2 * STATS_STEPS_PER_POWER)
		return bucket + 1;
	return (uint64) (bucket % STATS_STEPS_PER_POWER + STATS_STEPS_PER_POWER + 1)
		   << power;
}

uint64
stats_percentile(StatsDatabase *database, int percent)
{
	uint64 rank = (stats_latencies(database) * percent + 99) / 100;
	uint64 max = pg_atomic_read_u64(&database->latency_max);
	uint64 seen = 0;
	int i;

	for (i = 0; i < STATS_HISTOGRAM_BUCKETS && rank > 0; i++)
	{
		seen += pg_atomic_read_u64(&database->latencies[i]);
		if (seen >= rank)
			return Min(bucket_limit(i), max);
	}
	return 0;
}

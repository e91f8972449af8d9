/*
 * stats.c: counters in shared memory, one set for each database.
 *
 * Sessions add to them with atomic instructions at their commit; nobody waits.
 * Latencies are kept in a log-linear histogram, eight steps to a power of two,
 * so that a percentile is at most an eighth too high.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "stats.h"

/* Databases with counters of their own; room for more is taken if there is. */
#define EXPECTED_DATABASES 64

#define STEPS_PER_POWER 8
#define HISTOGRAM_BUCKETS (40 * STEPS_PER_POWER)

/* Latencies of a transaction that are measured up to its commit. */
#define PENDING_LATENCIES 1024

typedef struct DatabaseStats
{
	Oid database; /* hash key */
	pg_atomic_uint64 counters[STATS_COUNTERS];
	pg_atomic_uint64 latency_sum; /* microseconds */
	pg_atomic_uint64 latency_max; /* microseconds */
	pg_atomic_uint64 latencies[HISTOGRAM_BUCKETS];
} DatabaseStats;

static const char *const counter_names[STATS_COUNTERS] = {
	"events_ingested",
	"events_duplicate",
	"messages_sent",
	"worker_claimed",
	"worker_processed",
	"worker_error",
	"worker_dead_letter",
	"conversations_created",
	"conversations_reused",
	"conversations_failures"};

static HTAB *databases = NULL;
static LWLock *databases_lock = NULL;

/* This session's database; entries never move, so one look is enough. */
static DatabaseStats *own = NULL;

/* What the open transaction has counted. */
static int64 pending[STATS_COUNTERS];
static TimestampTz pending_latencies[PENDING_LATENCIES];
static int npending_latencies = 0;
static bool has_pending = false;

static DatabaseStats *own_stats(void);
static void init_database(DatabaseStats *stats);
static void at_transaction_end(XactEvent event, void *arg);
static void publish(void);
static void add_latency(DatabaseStats *stats, int64 latency);
static int bucket_of(uint64 latency);
static uint64 bucket_limit(int bucket);
static uint64 percentile(DatabaseStats *stats, uint64 total, int percent);
static void put_counter(ReturnSetInfo *result, const char *name, uint64 value);

PG_FUNCTION_INFO_V1(msgstore_counters);

Datum
msgstore_counters(PG_FUNCTION_ARGS)
{
	DatabaseStats *stats = own_stats();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64 sum = pg_atomic_read_u64(&stats->latency_sum);
	uint64 max = pg_atomic_read_u64(&stats->latency_max);
	uint64 total = 0;
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < STATS_COUNTERS; i++)
		put_counter(result,
					counter_names[i],
					pg_atomic_read_u64(&stats->counters[i]));
	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
		total += pg_atomic_read_u64(&stats->latencies[i]);
	put_counter(result, "worker_latency_avg_us", total > 0 ? sum / total : 0);
	put_counter(result, "worker_latency_max_us", max);
	put_counter(result,
				"worker_latency_p50_us",
				Min(percentile(stats, total, 50), max));
	put_counter(result,
				"worker_latency_p95_us",
				Min(percentile(stats, total, 95), max));
	put_counter(result,
				"worker_latency_p99_us",
				Min(percentile(stats, total, 99), max));
	return (Datum) 0;
}

void
stats_count(StatsCounter counter, int64 n)
{
	pending[counter] += n;
	has_pending = true;
}

void
stats_count_latency(TimestampTz accepted_at)
{
	has_pending = true;
	if (npending_latencies < PENDING_LATENCIES)
		pending_latencies[npending_latencies++] = accepted_at;
	else
		add_latency(own_stats(), GetCurrentTimestamp() - accepted_at);
}

/* Nobody is connected to it any more, so nobody holds on to its entry. */
void
stats_forget_database(Oid database)
{
	LWLockAcquire(databases_lock, LW_EXCLUSIVE);
	(void) hash_search(databases, &database, HASH_REMOVE, NULL);
	LWLockRelease(databases_lock);
}

void
stats_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
stats_shmem_request(void)
{
	RequestAddinShmemSpace(
		hash_estimate_size(EXPECTED_DATABASES, sizeof(DatabaseStats)));
	RequestNamedLWLockTranche("msgstore_stats", 1);
}

void
stats_shmem_startup(void)
{
	HASHCTL info = {.keysize = sizeof(Oid), .entrysize = sizeof(DatabaseStats)};

	databases = ShmemInitHash("msgstore stats",
							  EXPECTED_DATABASES,
							  EXPECTED_DATABASES,
							  &info,
							  HASH_ELEM | HASH_BLOBS);
	databases_lock = &GetNamedLWLockTranche("msgstore_stats")->lock;
}

/* A session counts for itself where there is no shared memory, or no room. */
static DatabaseStats *
own_stats(void)
{
	static DatabaseStats local;
	bool found;

	if (own != NULL)
		return own;
	if (databases != NULL)
	{
		LWLockAcquire(databases_lock, LW_EXCLUSIVE);
		own = hash_search(databases, &MyDatabaseId, HASH_ENTER_NULL, &found);
		if (own != NULL && !found)
			init_database(own);
		LWLockRelease(databases_lock);
	}
	if (own == NULL)
	{
		init_database(&local);
		own = &local;
	}
	return own;
}

static void
init_database(DatabaseStats *stats)
{
	int i;

	for (i = 0; i < STATS_COUNTERS; i++)
		pg_atomic_init_u64(&stats->counters[i], 0);
	pg_atomic_init_u64(&stats->latency_sum, 0);
	pg_atomic_init_u64(&stats->latency_max, 0);
	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&stats->latencies[i], 0);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (!has_pending || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
		publish();
	memset(pending, 0, sizeof(pending));
	npending_latencies = 0;
	has_pending = false;
}

static void
publish(void)
{
	DatabaseStats *stats = own_stats();
	TimestampTz now;
	int i;

	for (i = 0; i < STATS_COUNTERS; i++)
	{
		if (pending[i] != 0)
			pg_atomic_fetch_add_u64(&stats->counters[i], pending[i]);
	}
	if (npending_latencies == 0)
		return;
	now = GetCurrentTimestamp();
	for (i = 0; i < npending_latencies; i++)
		add_latency(stats, now - pending_latencies[i]);
}

static void
add_latency(DatabaseStats *stats, int64 latency)
{
	uint64 max = pg_atomic_read_u64(&stats->latency_max);

	/* the clock may have been set back in between */
	latency = Max(latency, 0);
	pg_atomic_fetch_add_u64(&stats->latencies[bucket_of(latency)], 1);
	pg_atomic_fetch_add_u64(&stats->latency_sum, latency);
	while (max < (uint64) latency &&
		   !pg_atomic_compare_exchange_u64(&stats->latency_max, &max, latency))
		;
}

/* The first powers of two have a bucket for each microsecond. */
static int
bucket_of(uint64 latency)
{
	int power;
	int bucket;

	if (latency < 2 * STEPS_PER_POWER)
		return (int) latency;
	power = pg_leftmost_one_pos64(latency) - 3;
	bucket = power * STEPS_PER_POWER + (int) (latency >> power);
	return Min(bucket, HISTOGRAM_BUCKETS - 1);
}

/* The greatest latency that falls into the bucket. */
static uint64
bucket_limit(int bucket)
{
	int power = bucket / STEPS_PER_POWER - 1;

	if (bucket < 2 * STEPS_PER_POWER)
		return bucket;
	return ((uint64) (bucket % STEPS_PER_POWER + STEPS_PER_POWER + 1)
			<< power) -
		   1;
}

static uint64
percentile(DatabaseStats *stats, uint64 total, int percent)
{
	uint64 rank = (total * percent + 99) / 100;
	uint64 seen = 0;
	int i;

	for (i = 0; i < HISTOGRAM_BUCKETS && total > 0; i++)
	{
		seen += pg_atomic_read_u64(&stats->latencies[i]);
		if (seen >= rank)
			return bucket_limit(i);
	}
	return 0;
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

/*
 * stats/shared.h: the counters in shared memory, for the files in stats/ only.
 */
#ifndef STATS_SHARED_H
#define STATS_SHARED_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/snapshot.h"

#include "stats/stats.h"

#define STATS_STEPS_PER_POWER 8
#define STATS_HISTOGRAM_BUCKETS (40 * STATS_STEPS_PER_POWER)

/* Size of the hash table of databases; it can grow within shared memory. */
#define STATS_DATABASES 64

/*
 * Pairs of tenant and channel with their own counters, in all databases; and
 * the number of all entries, with one per database for all other pairs, and one
 * in a session that cannot get any of these.
 */
#define STATS_CHANNELS 1024
#define STATS_MAX_CHANNELS (STATS_CHANNELS + STATS_DATABASES + 1)

/* Bytes of a name with its zero; longer names share the entry 'other'. */
#define STATS_NAME_SIZE 64

/* A gauge is a base, the number of rows at first, plus the moves since then. */
typedef struct StatsGaugeState
{
	pg_atomic_uint64 moved; /* int64: rows inserted less deleted */
	pg_atomic_uint64 base;	/* int64 */
} StatsGaugeState;

typedef struct StatsDatabase
{
	Oid database; /* hash key */
	pg_atomic_uint64 counters[STATS_COUNTERS];
	StatsGaugeState gauges[STATS_GAUGES];

	/* Number of transactions that have published moves. */
	pg_atomic_uint64 publications;

	/*
	 * The relfilenode of the table for which the base is valid, 0 if unknown.
	 * TRUNCATE or re-creation changes it. Guarded by stats_lock.
	 */
	Oid base_storage[STATS_GAUGES];
	Oid channels_storage[STATS_GAUGES]; /* the same for the channels' bases */
	uint64 recounts;					/* number of calls of recount() */

	/* TimestampTz of the last process() or claim() in a session, 0: none. */
	pg_atomic_uint64 outside_at;

	pg_atomic_uint64 latency_sum; /* microseconds */
	pg_atomic_uint64 latency_max; /* microseconds */
	pg_atomic_uint64 latencies[STATS_HISTOGRAM_BUCKETS];
} StatsDatabase;

/* The counters of a tenant's channel. */
typedef enum StatsOutcome
{
	STATS_INGESTED,
	STATS_DUPLICATE,
	STATS_PROCESSED,
	STATS_ERROR,
	STATS_DEAD_LETTER,
	STATS_SENT
} StatsOutcome;

#define STATS_OUTCOMES (STATS_SENT + 1)

typedef struct StatsChannelKey
{
	Oid database;
	char tenant_id[STATS_NAME_SIZE]; /* zero-padded, because it is hashed */
	char channel[STATS_NAME_SIZE];
} StatsChannelKey;

typedef struct StatsChannel
{
	StatsChannelKey key; /* hash key */
	pg_atomic_uint64 outcomes[STATS_OUTCOMES];
	StatsGaugeState gauges[STATS_GAUGES];
} StatsChannel;

/* Guards the hash tables and the bases; counters need no lock. */
extern LWLock *stats_lock;

/*
 * Returns the entry of this session's database. Without free shared memory it
 * is local to the session. Sets *shared (may be NULL) accordingly.
 */
extern StatsDatabase *stats_own_database(bool *shared);

/*
 * Returns the entry of a tenant's channel in this database, and creates it if
 * needed. If there is no room or a name is too long, returns the entry of
 * tenant
 * '' and channel 'other'.
 */
extern StatsChannel *stats_own_channel(const char *tenant_id,
									   int tenant_len,
									   const char *channel,
									   int channel_len);

/* Lists the entries of this database in a palloc'd array. */
extern int stats_own_channels(StatsChannel ***channels);

/*
 * Announce that the transaction is about to commit moves, and that it has
 * published them. In between, its rows may be visible but not in the gauges.
 */
extern void stats_begin_publishing(void);
extern void stats_end_publishing(void);

/* Whether the snapshot sees a transaction with unpublished moves. */
extern bool stats_has_unpublished(Snapshot snapshot);

/* Returns this transaction's moves for one channel, or all (NULL). */
extern int64 stats_own_moves(StatsGauge gauge, const StatsChannel *channel);

/* Adds a latency to the histogram. */
extern void stats_add_latency(StatsDatabase *database, int64 latency);

/* Returns a percentile of the latencies, and their number. */
extern uint64 stats_percentile(StatsDatabase *database, int percent);
extern uint64 stats_latencies(StatsDatabase *database);

/* The part of the shared memory that belongs to stats/worker.c. */
extern Size stats_worker_shmem_size(void);
extern void stats_worker_shmem_startup(void);
extern void stats_worker_forget_database(Oid database);

/* The parts that belong to stats/progress.c. */
extern void stats_progress_init(void);
extern Size stats_progress_shmem_size(void);
extern void stats_progress_shmem_startup(void);

#endif /* STATS_SHARED_H */

/*
 * stats/shared.h: the counters in shared memory, for the files of this room.
 */
#ifndef STATS_SHARED_H
#define STATS_SHARED_H

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/snapshot.h"

#include "stats/stats.h"

#define STATS_STEPS_PER_POWER 8
#define STATS_HISTOGRAM_BUCKETS (40 * STATS_STEPS_PER_POWER)

/* Databases with counters of their own; room for more is taken if there is. */
#define STATS_DATABASES 64

/*
 * Channels of tenants with counters of their own, of all databases; and all
 * entries, with those that databases count the rest under, and one for a
 * session that finds no room for that either.
 */
#define STATS_CHANNELS 1024
#define STATS_MAX_CHANNELS (STATS_CHANNELS + STATS_DATABASES + 1)

/* Bytes of a name, and a zero; a tenant with a longer one has no own entry. */
#define STATS_NAME_SIZE 64

/* A gauge is a base, what there was when counting began, and what came since.
 */
typedef struct StatsGaugeState
{
	pg_atomic_uint64 moved; /* int64: came less went, published */
	pg_atomic_uint64 base;	/* int64 */
} StatsGaugeState;

typedef struct StatsDatabase
{
	Oid database; /* hash key */
	pg_atomic_uint64 counters[STATS_COUNTERS];
	StatsGaugeState gauges[STATS_GAUGES];

	/* Goes up with each transaction that publishes moves. */
	pg_atomic_uint64 publications;

	/*
	 * The storage of the table for which the base is right, 0 when unknown: a
	 * table that was truncated or made anew has another. Guarded by
	 * stats_lock.
	 */
	Oid base_storage[STATS_GAUGES];
	Oid channels_storage[STATS_GAUGES]; /* the same for the channels' bases */
	uint64 recounts;					/* how often the bases were forgotten */

	pg_atomic_uint64 latency_sum; /* microseconds */
	pg_atomic_uint64 latency_max; /* microseconds */
	pg_atomic_uint64 latencies[STATS_HISTOGRAM_BUCKETS];
} StatsDatabase;

/* What is counted of a channel of a tenant. */
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
	char tenant_id[STATS_NAME_SIZE]; /* padded with zeros, it is hashed */
	char channel[STATS_NAME_SIZE];
} StatsChannelKey;

typedef struct StatsChannel
{
	StatsChannelKey key; /* hash key */
	pg_atomic_uint64 outcomes[STATS_OUTCOMES];
	StatsGaugeState gauges[STATS_GAUGES];
} StatsChannel;

/* Guards the tables' shape and the bases; counters need no lock. */
extern LWLock *stats_lock;

/*
 * This session's database. Without shared memory, or room in it, one of the
 * session's own: *shared says which (may be NULL).
 */
extern StatsDatabase *stats_own_database(bool *shared);

/*
 * The entry of a channel of a tenant in this database, made when it is not
 * there. One that finds no room, or has too long a name, is counted as channel
 * 'other' of tenant ''.
 */
extern StatsChannel *stats_own_channel(const char *tenant_id,
									   int tenant_len,
									   const char *channel,
									   int channel_len);

/* All entries of this database, palloc'd; returns how many. */
extern int stats_own_channels(StatsChannel ***channels);

/*
 * Says that the transaction is about to commit, and that its moves have been
 * published: in between they may be visible and not counted.
 */
extern void stats_begin_publishing(void);
extern void stats_end_publishing(void);

/*
 * Whether a transaction that the snapshot sees has moves that are not
 * published.
 */
extern bool stats_has_unpublished(Snapshot snapshot);

/* Moves of the open transaction, of all channels (NULL) or of one. */
extern int64 stats_own_moves(StatsGauge gauge, const StatsChannel *channel);

/* Latencies go into a histogram at once. */
extern void stats_add_latency(StatsDatabase *database, int64 latency);

/* Which percent of the latencies are not longer than what is returned. */
extern uint64 stats_percentile(StatsDatabase *database, int percent);
extern uint64 stats_latencies(StatsDatabase *database);

/* stats_worker.c's part of the shared memory. */
extern Size stats_worker_shmem_size(void);
extern void stats_worker_shmem_startup(void);
extern void stats_worker_forget_database(Oid database);

#endif /* STATS_SHARED_H */

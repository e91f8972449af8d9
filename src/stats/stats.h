/*
 * stats/stats.h: per-database counters since the server started.
 *
 * Counts and moves belong to the transaction that makes them: they become
 * visible when it commits, and are discarded when it, or the subtransaction
 * they were made in, rolls back. Without preloading there is no shared memory,
 * and each session sees only its own counts.
 */
#ifndef STATS_H
#define STATS_H

#include "datatype/timestamp.h"

typedef enum StatsCounter
{
	STATS_EVENTS_INGESTED,
	STATS_EVENTS_DUPLICATE,
	STATS_EVENTS_CONFLICTING,
	STATS_MESSAGES_SENT,
	STATS_WORKER_CLAIMED,
	STATS_WORKER_PROCESSED,
	STATS_WORKER_ERROR,
	STATS_WORKER_DEAD_LETTER,
	STATS_CONVERSATIONS_CREATED,
	STATS_CONVERSATIONS_REUSED,
	STATS_CONVERSATIONS_FAILURES,
	STATS_CALLBACKS_UNKNOWN_STATUS,
	/* refused events, by what is wrong with them */
	STATS_REFUSED_CHANNEL,
	STATS_REFUSED_KEY,
	STATS_REFUSED_PAYLOAD,
	STATS_REFUSED_SIZE,
	STATS_REFUSED_TYPE,
	STATS_REFUSED_ADDRESS,
	STATS_REFUSED_PROVIDER_ID,
	STATS_REFUSED_TIMESTAMP,
	STATS_REFUSED_BODY,
	STATS_REFUSED_ATTACHMENTS,
	/* webhooks of sources: signatures that were not accepted, by reason */
	STATS_UNVERIFIED_MISSING,
	STATS_UNVERIFIED_MALFORMED,
	STATS_UNVERIFIED_MISMATCH,
	STATS_UNVERIFIED_BODY_CHANGED,
	STATS_UNVERIFIED_EXPIRED,
	STATS_UNVERIFIED_REPLAYED,
	STATS_UNVERIFIED_NO_SECRET,
	STATS_SOURCE_REFUSED,
	/* and their items */
	STATS_SOURCE_ITEMS_REFUSED,
	STATS_SOURCE_ITEMS_IGNORED
} StatsCounter;

#define STATS_COUNTERS (STATS_SOURCE_ITEMS_IGNORED + 1)

/* Current numbers of rows: of event_queue, and of dead_letters. */
typedef enum StatsGauge
{
	STATS_QUEUED,
	STATS_DEAD
} StatsGauge;

#define STATS_GAUGES (STATS_DEAD + 1)

/* At commit, adds to a counter of the database. */
extern void stats_count(StatsCounter counter, int64 n);

/*
 * The same, and adds to the counter of the tenant and channel, if there is one:
 * claims and conversations are counted per database only. Cheap enough to call
 * for each event of a batch, cheapest for the channel of the last call.
 */
extern void stats_count_for(StatsCounter counter,
							const text *tenant_id,
							const text *channel,
							int64 n);

/* Adds to a counter of the database at once, even if the transaction fails. */
extern void stats_count_now(StatsCounter counter, int64 n);

/* At commit, adds delta to a gauge. */
extern void stats_move(StatsGauge gauge,
					   const text *tenant_id,
					   const text *channel,
					   int64 delta);

/* At commit, records the latency of an event that was accepted at this time. */
extern void stats_count_latency(TimestampTz accepted_at);

/*
 * Records, at once, that a session other than a worker is processing events;
 * returns when one last did, or 0. Without preloading, this session only.
 */
extern void stats_note_outside(void);
extern TimestampTz stats_outside_at(void);

/* Frees the counters of a dropped database. */
extern void stats_forget_database(Oid database);

/* For _PG_init: commit hooks; size and setup of the shared memory. */
extern void stats_init(void);
extern void stats_shmem_request(void);
extern void stats_shmem_startup(void);

#endif /* STATS_H */

/*
 * stats/stats.h: what a database's sessions and workers did since the server started.
 *
 * Counts and moves belong to the transaction that makes them: they are seen by
 * all when it commits and forgotten when it, or the subtransaction they were
 * made in, rolls back. Without preloading there is no shared memory, and a
 * session counts for itself only.
 */
#ifndef STATS_H
#define STATS_H

#include "datatype/timestamp.h"

typedef enum StatsCounter
{
	STATS_EVENTS_INGESTED,
	STATS_EVENTS_DUPLICATE,
	STATS_MESSAGES_SENT,
	STATS_WORKER_CLAIMED,
	STATS_WORKER_PROCESSED,
	STATS_WORKER_ERROR,
	STATS_WORKER_DEAD_LETTER,
	STATS_CONVERSATIONS_CREATED,
	STATS_CONVERSATIONS_REUSED,
	STATS_CONVERSATIONS_FAILURES
} StatsCounter;

#define STATS_COUNTERS (STATS_CONVERSATIONS_FAILURES + 1)

/* What there is now: rows of event_queue, and of dead_letters. */
typedef enum StatsGauge
{
	STATS_QUEUED,
	STATS_DEAD
} StatsGauge;

#define STATS_GAUGES (STATS_DEAD + 1)

/* Adds to the database's counter when the transaction commits. */
extern void stats_count(StatsCounter counter, int64 n);

/*
 * The same, and adds to the counter of tenant and channel, which those have of
 * what happens to single events: claims and conversations have none. Cheap
 * enough for each event of a batch, cheapest when it is the channel of the
 * last call.
 */
extern void stats_count_for(StatsCounter counter,
							const text *tenant_id,
							const text *channel,
							int64 n);

/* So many rows came (or went, when negative) when the transaction commits. */
extern void stats_move(StatsGauge gauge,
					   const text *tenant_id,
					   const text *channel,
					   int64 delta);

/* An event that was accepted at this time is processed when it commits. */
extern void stats_count_latency(TimestampTz accepted_at);

/* Lets go of the counters of a database that was dropped. */
extern void stats_forget_database(Oid database);

/* For _PG_init: commit hooks; shared memory's size, and its set-up. */
extern void stats_init(void);
extern void stats_shmem_request(void);
extern void stats_shmem_startup(void);

#endif /* STATS_H */

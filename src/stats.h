/*
 * stats.h: what a database's sessions and workers did since the server started.
 *
 * Counts belong to the transaction that makes them: they are seen by all when
 * it commits and forgotten when it rolls back. Without preloading there is no
 * shared memory, and a session counts for itself only.
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

/* Adds to a counter when the transaction commits. */
extern void stats_count(StatsCounter counter, int64 n);

/* An event that was accepted at this time is processed when it commits. */
extern void stats_count_latency(TimestampTz accepted_at);

/* Lets go of the counters of a database that was dropped. */
extern void stats_forget_database(Oid database);

/* For _PG_init: commit hook; shared memory's size, and its set-up. */
extern void stats_init(void);
extern void stats_shmem_request(void);
extern void stats_shmem_startup(void);

#endif /* STATS_H */

/*
 * stats/worker.h: state and totals of each worker of a database.
 *
 * An entry belongs to a database and worker number and outlives the worker's
 * process. In a process that is not attached to an entry, calls do nothing.
 */
#ifndef STATS_WORKER_H
#define STATS_WORKER_H

typedef enum StatsWorkerState
{
	STATS_WORKER_STOPPED, /* no process */
	STATS_WORKER_STARTING,
	STATS_WORKER_PAUSED,
	STATS_WORKER_IDLE, /* waits for work; all later states count as busy */
	STATS_WORKER_CLAIMING,
	STATS_WORKER_APPLYING,
	STATS_WORKER_RETRYING, /* applies a failed batch one by one */
	STATS_WORKER_PURGING,
	STATS_WORKER_PROJECTING
} StatsWorkerState;

/*
 * Attaches this process to the entry of the worker with this number (from 0),
 * in state STARTING, until it exits or detaches.
 */
extern void stats_worker_attach(int index);
extern void stats_worker_detach(void);

/* Sets the state. */
extern void stats_worker_state(StatsWorkerState state);

/* Records a batch of claimed events. */
extern void stats_worker_batch(int claimed);

/* Records how many became messages, will be retried, and are dead letters. */
extern void stats_worker_done(int processed, int errors, int dead);

/* Records the last error, of an event or of the worker. */
extern void stats_worker_error(const char *message);

/* Returns the number of running workers of this database. */
extern int stats_workers_running(void);

/* Returns the wait event of an idle worker, for pg_stat_activity. */
extern uint32 stats_wait_event_worker(void);

#endif /* STATS_WORKER_H */

/*
 * stats/worker.h: what each worker of a database does, and did.
 *
 * An entry belongs to a database and a worker's number and outlives the
 * worker's process. In a process that is not attached to one every call does
 * nothing.
 */
#ifndef STATS_WORKER_H
#define STATS_WORKER_H

typedef enum StatsWorkerState
{
	STATS_WORKER_STOPPED, /* no process */
	STATS_WORKER_STARTING,
	STATS_WORKER_IDLE, /* waits for work: all other states are busy */
	STATS_WORKER_CLAIMING,
	STATS_WORKER_APPLYING,
	STATS_WORKER_RETRYING, /* the events of a batch that failed, one by one */
	STATS_WORKER_PURGING
} StatsWorkerState;

/*
 * This process is the worker with this number, from 0, of its database, until
 * it ends or detaches; it is starting.
 */
extern void stats_worker_attach(int index);
extern void stats_worker_detach(void);

/* What it does from now on. */
extern void stats_worker_state(StatsWorkerState state);

/* It has claimed so many events. */
extern void stats_worker_batch(int claimed);

/* So many of them have become messages, will be retried, were given up. */
extern void stats_worker_done(int processed, int errors, int dead);

/* An event's failure, or its own. */
extern void stats_worker_error(const char *message);

/* How many workers of this database have a process. */
extern int stats_workers_running(void);

/* What pg_stat_activity says that a worker waits for when it has no work. */
extern uint32 stats_wait_event_worker(void);

#endif /* STATS_WORKER_H */

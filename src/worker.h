/*
 * worker.h: the background workers, as sessions and the module's door see them.
 */
#ifndef WORKER_H
#define WORKER_H

#include "datatype/timestamp.h"

/* At commit, a worker of this database looks at the queue. */
extern void worker_wake_at_commit(void);

/*
 * The same when the transaction, or the subtransaction, rolls back: it lets go
 * of events it held.
 */
extern void worker_wake_at_abort(void);

/*
 * Applies at most most events that are due at the given time, in the caller's
 * transaction; the caller is connected to SPI. Returns how many were claimed,
 * and in left how many of these left the queue.
 */
extern int worker_run_batch(int most, TimestampTz due, int *left);

/* Whether a batch of this size that claimed so many may have left some. */
extern bool worker_has_more(int claimed, int size);

/* When the first retry after the given time is due; 0 when there is none. */
extern TimestampTz worker_next_retry(TimestampTz after);

/* For _PG_init: hooks, and the launcher when the module is preloaded. */
extern void worker_init(void);
extern void worker_shmem_request(void);
extern void worker_shmem_startup(void);

#endif /* WORKER_H */

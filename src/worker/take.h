/*
 * worker/take.h: takes the events of a batch out of the queue.
 *
 * What others hold, or have changed since it was read, leaves the batch.
 */
#ifndef WORKER_TAKE_H
#define WORKER_TAKE_H

#include "worker/batch.h"

/* Holds the rows of the whole batch until the end of the transaction. */
extern void worker_lock_events(WorkerBatch *batch);

/*
 * Deletes the rows of n events, of which fewer may be left then: returns how
 * many.
 */
extern int worker_take_events(WorkerBatch *batch, int first, int n);

/* The same of events that are this session's, wherever their rows are. */
extern void worker_delete_events(const WorkerBatch *batch, int first, int n);

#endif /* WORKER_TAKE_H */

/*
 * worker/take.h: takes the events of a batch out of the queue.
 *
 * Events that others have locked or changed since they were read are removed
 * from the batch.
 */
#ifndef WORKER_TAKE_H
#define WORKER_TAKE_H

#include "worker/batch.h"

/* Locks the rows of the whole batch until the end of the transaction. */
extern void worker_lock_events(WorkerBatch *batch);

/* Deletes the rows of n events. Returns how many of them are left. */
extern int worker_take_events(WorkerBatch *batch, int first, int n);

/* Deletes the rows of events that this session owns, by their keys. */
extern void worker_delete_events(const WorkerBatch *batch, int first, int n);

#endif /* WORKER_TAKE_H */

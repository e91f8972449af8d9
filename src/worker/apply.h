/*
 * worker/apply.h: turns the events of a batch into messages.
 */
#ifndef WORKER_APPLY_H
#define WORKER_APPLY_H

#include "worker/batch.h"
#include "worker/search.h"

/*
 * Claims up to most events that are due at the given time and processes them
 * in the caller's transaction; the caller is connected to SPI. Advances the
 * search. Returns the number of claimed events, and in left how many of them
 * left the queue.
 */
extern int
worker_run_batch(int most, TimestampTz due, WorkerSearch *search, int *left);

/*
 * Processes the events of a batch, which the caller has read from lanes that it
 * has locked. Sets left as above.
 */
extern void worker_apply_batch(WorkerBatch *batch, int *left);

/*
 * Creates the messages of n events whose queue rows are already deleted, of all
 * or none, and calls their handlers. wait: see conversations_add().
 */
extern void worker_apply(WorkerBatch *batch, int first, int n, bool wait);

#endif /* WORKER_APPLY_H */

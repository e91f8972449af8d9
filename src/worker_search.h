/*
 * worker_search.h: where a worker looks for events.
 */
#ifndef WORKER_SEARCH_H
#define WORKER_SEARCH_H

#include "worker_batch.h"
#include "worker_shared.h"

/*
 * The place to look at next, given what has changed since the last turn and
 * the lanes that are this worker's now. It is the caller's to move on.
 */
extern WorkerSearch *worker_begin_search(uint64 share, const WorkerNews *news);

/* The search has been used. */
extern void worker_end_search(void);

#endif /* WORKER_SEARCH_H */

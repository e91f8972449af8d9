/*
 * worker/queue.h: reads new events of the queue in the order of their ids.
 */
#ifndef WORKER_QUEUE_H
#define WORKER_QUEUE_H

#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/uuid.h"

typedef struct QueueReader
{
	Relation table;
	Relation index;
	struct IndexScanDescData *scan;
	TupleTableSlot *slot;
} QueueReader;

typedef struct QueuedEvent
{
	pg_uuid_t id;
	int16 lane;
	ItemPointerData row;
} QueuedEvent;

/*
 * Reads with the active snapshot. Returns false if a statement must read the
 * queue: see tables_open_index().
 */
extern bool queue_open(QueueReader *queue);
extern void queue_close(QueueReader *queue);

/* Goes to the tenant's first event after the given one. */
extern void
queue_seek(QueueReader *queue, const text *tenant_id, const pg_uuid_t *after);

/* Reads the next new event in one of the lanes; false: there is none. */
extern bool queue_next(QueueReader *queue, uint64 lanes, QueuedEvent *event);

#endif /* WORKER_QUEUE_H */

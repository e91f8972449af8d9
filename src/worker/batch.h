/*
 * worker/batch.h: a batch of events that were read from the queue.
 */
#ifndef WORKER_BATCH_H
#define WORKER_BATCH_H

#include "storage/itemptr.h"

#include "conversations/message.h"
#include "conversations/event.h"
#include "worker/handlers.h"
#include "worker/log.h"
#include "worker/queue.h"

/* Columns of an event: l is its row of event_log, q that of event_queue. */
#define WORKER_EVENT_COLUMNS EVENT_COLUMNS ", q.lane, q.row"
#define WORKER_EVENT_NCOLUMNS (EVENT_NCOLUMNS + 2)

typedef struct WorkerBatch
{
	ConversationMessage *messages; /* made from the events */
	TimestampTz *accepted_at;
	ItemPointerData *row; /* of event_queue, as it was read */
	int16 *lane;
	bool *strict;  /* its channel has strict_order; conversation_key is set */
	bool *blocked; /* later events of its conversation must not be applied */
	int n;
	int size;		/* of the arrays */
	uint64 lanes;	/* of its events */
	bool has_lines; /* conversation_holds has rows: see worker/order.c */
	WorkerHandlers *handlers;
	int errors; /* number of events that failed and will be retried */
	int dead;	/* number of events that became dead letters */
} WorkerBatch;

/* Makes an empty batch. Events are read into the current memory context. */
extern void worker_make_batch(WorkerBatch *batch);

/* Adds the events of the last result, which starts with those columns. */
extern void worker_read_events(WorkerBatch *batch);

/* Adds an event of the queue. One that is not in the log makes no message. */
extern void worker_add_queued(WorkerBatch *batch,
							  LogReader *log,
							  const text *tenant_id,
							  const QueuedEvent *event);

/* Overwrites one event by another. */
extern void worker_move_event(WorkerBatch *batch, int from, int to);

/* Returns arrays of the tenants and ids of n events. */
extern void worker_keys(const WorkerBatch *batch,
						int first,
						int n,
						Datum *tenants,
						Datum *ids);

#endif /* WORKER_BATCH_H */

/*
 * worker/batch.h: claimed events on their way to become messages.
 */
#ifndef WORKER_BATCH_H
#define WORKER_BATCH_H

#include "storage/itemptr.h"

#include "conversations/conversations.h"
#include "conversations/event.h"
#include "worker/handlers.h"

/* Of an event: rows l of event_log and q of event_queue. */
#define WORKER_EVENT_COLUMNS EVENT_COLUMNS ", q.lane, q.row"
#define WORKER_EVENT_NCOLUMNS (EVENT_NCOLUMNS + 2)

typedef struct WorkerBatch
{
	ConversationMessage *messages; /* that the events make */
	TimestampTz *accepted_at;
	ItemPointerData *row; /* of event_queue, as it was read */
	int16 *lane;
	bool *strict;  /* of a channel with strict_order; has its key already */
	bool *blocked; /* others of its conversation must not be applied */
	int n;
	uint64 lanes;	/* that its events are in */
	bool has_lines; /* there are such: see worker/order.c */
	WorkerHandlers *handlers;
	int errors; /* of its events, so many will be tried again */
	int dead;	/* and so many went to the dead letters */
} WorkerBatch;

/* An empty one; its events will be in the current memory context. */
extern void worker_make_batch(WorkerBatch *batch);

/* Adds those of the last result, which begins with WORKER_EVENT_COLUMNS. */
extern void worker_read_events(WorkerBatch *batch);

/* Puts an event into the place of another one. */
extern void worker_move_event(WorkerBatch *batch, int from, int to);

/* Arrays of the tenants and ids of n events. */
extern void worker_keys(const WorkerBatch *batch,
						int first,
						int n,
						Datum *tenants,
						Datum *ids);

#endif /* WORKER_BATCH_H */

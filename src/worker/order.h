/*
 * worker/order.h: keeps the order of conversations in strict_order channels.
 *
 * Callers hold the lanes of the batch and are connected to SPI.
 */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "worker/batch.h"

/*
 * Removes from the batch the events that must wait for earlier ones outside the
 * batch, and makes them wait.
 */
extern void worker_hold_back(WorkerBatch *batch);

/* Returns the first event that worker_hold_back() would remove, or NULL. */
extern const ConversationMessage *worker_find_waiting(WorkerBatch *batch);

/*
 * Event i was tried or claimed and is not applied. If its channel has
 * strict_order, later events of its conversation will wait for it, unless it is
 * a dead letter now.
 */
extern void worker_open_line(WorkerBatch *batch, int i, bool dead);

/* Makes event i wait for one that has opened a line. */
extern void worker_stand_in_line(WorkerBatch *batch, int i);

/*
 * Given arrays of tenants and ids of events that left the queue or are no
 * longer claimed, makes the events that wait for them due.
 */
extern void worker_leave_line(Datum tenants, Datum ids);

#endif /* WORKER_ORDER_H */

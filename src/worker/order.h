/*
 * worker/order.h: the lines in which events of a conversation wait.
 *
 * The caller holds the lanes of the batch and is connected to SPI.
 */
#ifndef WORKER_ORDER_H
#define WORKER_ORDER_H

#include "worker/batch.h"

/*
 * Takes out of the batch, into their lines, the events that must wait behind
 * earlier ones, which the batch does not hold.
 */
extern void worker_hold_back(WorkerBatch *batch);

/* NULL, or the first event of the batch that worker_hold_back() would take. */
extern const ConversationMessage *worker_find_waiting(WorkerBatch *batch);

/*
 * Event i was tried and is not applied: when its channel has strict_order,
 * later ones of its conversation wait, unless it left the queue for the dead
 * letters.
 */
extern void worker_open_line(WorkerBatch *batch, int i, bool dead);

/* Event i waits behind one that has opened a line. */
extern void worker_stand_in_line(WorkerBatch *batch, int i);

/*
 * The events, arrays of tenants and ids, left the queue or are no longer
 * claimed: who waits behind them is due.
 */
extern void worker_leave_line(Datum tenants, Datum ids);

#endif /* WORKER_ORDER_H */

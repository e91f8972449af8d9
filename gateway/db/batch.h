/*
 * batch.h: stores events of concurrent requests in one transaction.
 */
#ifndef BATCH_H
#define BATCH_H

#include <stdbool.h>

#include "config/config.h"
#include "db/item.h"
#include "db/pool.h"
#include "log.h"
#include "metrics.h"

typedef struct Batch Batch;

Batch *
batch_create(const Config *config, Log *log, Metrics *metrics, Pool *pool);

/* What a batch of one slot of a cluster needs to know. */
typedef struct SlotBatch
{
	Batch *beside;		   /* whose calls count as its own; NULL: none */
	int number;			   /* -1: of no slot, or of all */
	Batch *router;		   /* what the slot does not take is stored by it; NULL:
							  the slot is called through the router */
	void (*doubt)(void *); /* called when that happens */
	void *cluster;		   /* its argument */
} SlotBatch;

Batch *batch_create_for_slot(const Config *config,
							 Log *log,
							 Metrics *metrics,
							 Pool *pool,
							 const SlotBatch *slot);

/* Returns when the item is committed, refused, or its outcome unknown. */
void batch_store(Batch *batch, BatchItem *item);

/* The same without waiting: calls item->done, which may free the item. */
void batch_submit(Batch *batch, BatchItem *item);

/*
 * Would batch_store store an item at once, without another thread? The answer
 * can be out of date, and batch_store then waits.
 */
bool batch_is_idle(const Batch *batch);

/* Ends the threads. All items must have their results. */
void batch_stop(Batch *batch);

#endif /* BATCH_H */

/*
 * batch.h: stores events of concurrent requests in one transaction.
 */
#ifndef BATCH_H
#define BATCH_H

#include <semaphore.h>
#include <stdbool.h>

#include "config/config.h"
#include "db/pool.h"
#include "log.h"
#include "metrics.h"
#include "text.h"

typedef struct Batch Batch;

/* One event. The caller fills in the first members. */
typedef struct BatchItem
{
	Text json;			/* an element for ingest_batch; freed by the caller */
	const char *tenant; /* "": the role's own, or none */
	/* Called by another thread with the result; for batch_submit only. */
	void (*done)(struct BatchItem *item);

	char event_id[40]; /* set on success */
	bool duplicate;	   /* nothing was stored, event_id is the first event's */
	char sqlstate[6];  /* 00000: committed; 08xxx: not reachable, or lost */
	char message[512]; /* for the client if the class is MS, else the log */
	char detail[512];  /* likewise; "" if there is none */
	bool alone;		   /* the failed call had only this item */
	sem_t finished;
	struct BatchItem *next;
} BatchItem;

Batch *
batch_create(const Config *config, Log *log, Metrics *metrics, Pool *pool);

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

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

/*
 * One event; lives on the stack of the thread that waits for it. The caller
 * fills in json and tenant; the batch owns the rest until batch_store returns.
 */
typedef struct BatchItem
{
	Text json;			/* an element for ingest_batch; freed by the caller */
	const char *tenant; /* "": the role's own, or none */

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

/* Ends the threads. No thread may be inside batch_store. */
void batch_stop(Batch *batch);

#endif /* BATCH_H */

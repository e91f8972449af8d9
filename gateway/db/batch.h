/*
 * batch.h: many waiting requests, one ingest_batch, one commit.
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
 * One event on its way; lives on the stack of the thread that waits for it.
 * The caller fills in json and tenant, everything else belongs to the batch
 * until batch_store returns.
 */
typedef struct BatchItem
{
	Text json; /* an object as ingest_batch takes it; stays the caller's */
	const char *tenant; /* whose event it is; "": the role's own, or nobody's */

	char event_id[40]; /* set on success */
	char sqlstate[6];  /* 00000: committed; 08xxx: not reached or lost */
	char message[512]; /* for the client if the class is MS, else for the log */
	bool alone;		   /* an error came from a call with this item only */
	sem_t finished;
	struct BatchItem *next;
} BatchItem;

Batch *
batch_create(const Config *config, Log *log, Metrics *metrics, Pool *pool);

/* Returns when the item is committed or refused, or nobody can know. */
void batch_store(Batch *batch, BatchItem *item);

/* Ends the threads; nobody may be inside batch_store any more. */
void batch_stop(Batch *batch);

#endif /* BATCH_H */

/*
 * item.h: an event that waits to be stored.
 */
#ifndef ITEM_H
#define ITEM_H

#include <semaphore.h>
#include <stdbool.h>

#include <libpq-fe.h>

#include "text.h"

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
	int slot;		   /* of the tenant, in a cluster; internal */
	sem_t finished;
	struct BatchItem *next;
} BatchItem;

/*
 * Sets the results of the items up to end. An item without a row is reported as
 * failed.
 */
void items_distribute(BatchItem *items, BatchItem *end, PGresult *result);

/* The first item of another tenant than the first one's, or NULL. */
BatchItem *items_end_of_tenant(BatchItem *items);

void item_set_error(BatchItem *item,
					const char *sqlstate,
					const char *message,
					const char *detail);

/* Of all items of a list. */
void
items_set_errors(BatchItem *items, const char *sqlstate, const char *message);

#endif /* ITEM_H */

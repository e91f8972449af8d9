/*
 * worker/search.h: finds the events to process next.
 */
#ifndef WORKER_SEARCH_H
#define WORKER_SEARCH_H

#include "utils/hsearch.h"

#include "wake/shared.h"
#include "worker/batch.h"

typedef struct WorkerSearch
{
	const WorkerSlot *slot;	  /* of the worker; NULL: a session's search */
	uint64 lanes;			  /* to search */
	TimestampTz retries_from; /* no retry is due before this time */
	bool everything;		  /* find retries however old they are */
	bool incomplete;		  /* some of the lanes could not be locked */
	bool locks;				  /* lock the rows that are found */
	HTAB *places;			  /* per tenant, the last event that was found */
	MemoryContext memory;	  /* of the places */
	text *last_tenant;		  /* whose events were taken last; NULL: none */
	int64 claim_us;			  /* duration of the last claim */
} WorkerSearch;

/*
 * Returns the search of the worker in this slot, updated by its current share
 * of the lanes and by what has changed since the last turn. End it with
 * worker_end_search().
 */
extern WorkerSearch *worker_begin_search(const WorkerSlot *slot,
										 uint64 share,
										 const WorkerNews *news);

/*
 * Adds what has changed since then, and stays news for the next turn. Call it
 * after the snapshot of the search is taken.
 */
extern void worker_update_search(WorkerSearch *search);

/* Notes when a search of everything ended and how long it took. */
extern void worker_end_search(void);

/* Returns a session's search of everything; locks: lock the rows found. */
extern WorkerSearch *worker_search_all(bool locks);

/*
 * Reads up to most due events from the search's lanes, which the caller has
 * locked, and advances the search. Unless it locks rows it uses the active
 * snapshot. The batch is in the current memory context; the caller is connected
 * to SPI.
 */
extern void worker_claim(int most,
						 TimestampTz due,
						 WorkerSearch *search,
						 WorkerBatch *batch);

/*
 * Whether more events may be due after a claim of up to size events returned
 * this many.
 */
extern bool worker_has_more(int claimed, int size);

/* Returns when the next retry after this time is due, or DT_NOEND. */
extern TimestampTz worker_next_retry(TimestampTz after, uint64 lanes);

#endif /* WORKER_SEARCH_H */

/*
 * worker/search.h: which events are next.
 */
#ifndef WORKER_SEARCH_H
#define WORKER_SEARCH_H

#include "utils/hsearch.h"

#include "wake/shared.h"
#include "worker/batch.h"

typedef struct WorkerSearch
{
	uint64 lanes;			  /* events of others are left alone */
	TimestampTz retries_from; /* no retry is due before */
	bool everything;		  /* wherever it has been before */
	bool incomplete;		  /* some of the lanes could not be taken */
	bool locks;				  /* rows are held until the transaction ends */
	HTAB *places;			  /* up to where each tenant's events were taken */
	MemoryContext memory;	  /* of the places */
	text *last_tenant;		  /* that was served; NULL: none */
	int64 claim_us;			  /* what the last claim took */
} WorkerSearch;

/*
 * The worker's search, given what has changed since the last turn and the lanes
 * that are its now. It is the caller's to move on.
 */
extern WorkerSearch *worker_begin_search(uint64 share, const WorkerNews *news);

/* The search has been used. */
extern void worker_end_search(void);

/* A session's search of all that there is; locks: the rows that it finds. */
extern WorkerSearch *worker_search_all(bool locks);

/*
 * Claims at most most events that are due, in those lanes of the search that
 * the caller has taken, and moves the search on. The batch is in the current
 * memory context; the caller is connected to SPI.
 */
extern void worker_claim(int most,
						 TimestampTz due,
						 WorkerSearch *search,
						 WorkerBatch *batch);

/* Whether a claim of at most size events that got so many may have left some.
 */
extern bool worker_has_more(int claimed, int size);

/* When the first retry after the given time is due; DT_NOEND: there is none. */
extern TimestampTz worker_next_retry(TimestampTz after, uint64 lanes);

#endif /* WORKER_SEARCH_H */

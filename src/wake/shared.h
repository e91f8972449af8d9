/*
 * wake/shared.h: what launcher, workers and sessions know of each other.
 *
 * The launcher gives a slot to each worker it starts and takes it back when
 * the process has ended; the worker fills it; a session that commits events
 * looks for a slot of its database, and asks the launcher when there is none.
 */
#ifndef WAKE_SHARED_H
#define WAKE_SHARED_H

#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

/* How a worker's process ended, or that it has not. */
typedef enum WorkerOutcome
{
	WORKER_FAILED, /* without a word: an error, a signal */
	WORKER_ABSENT, /* the extension is not in its database */
	WORKER_STOPPED /* it was not wanted any more, or not as it was */
} WorkerOutcome;

/*
 * What commits have changed in a queue: from where on a worker has to look at
 * it again.
 */
typedef struct WorkerNews
{
	pg_uuid_t lowest;	  /* id of a fresh event; all bits set: none */
	TimestampTz earliest; /* time of a retry; DT_NOEND: none */
	TimestampTz expiry;	  /* of a claim from outside; DT_NOEND: none */
} WorkerNews;

typedef struct WorkerSlot
{
	Oid database;	   /* InvalidOid: the slot is free */
	int index;		   /* among the workers of its database, from 0 */
	uint32 generation; /* of the slot's use: a late process must not take it */
	Latch *latch;	   /* NULL before the process came up and after its end */
	bool ready;		   /* found the extension and looks at the queue */
	bool asleep;	   /* waits for its latch */
	bool roused;	   /* was called since it last took its news */
	bool stop;		   /* is asked to end */
	WorkerNews news;   /* since the worker last took them */
	WorkerOutcome outcome;
} WorkerSlot;

/* Databases that sessions want looked at; more of them: look at all. */
#define WORKER_MAX_REQUESTS 64

/* Databases that somebody needs without connections at the same time. */
#define WORKER_MAX_ASIDE 16

typedef struct WorkerShared
{
	LWLock *lock; /* guards all that follows */
	Latch *launcher;
	bool look_at_all;
	int nrequests;
	Oid requests[WORKER_MAX_REQUESTS];
	Oid aside[WORKER_MAX_ASIDE]; /* InvalidOid: free */
	ConditionVariable ended;	 /* some worker has */
	int nslots;
	WorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

/* NULL when the module is not preloaded. */
extern WorkerShared *wake_shared;

/*
 * Wakes the workers of the database that these lanes belong to, or asks the
 * launcher for one; wake_all_workers() makes them look at all of the queue.
 */
extern void wake_workers(Oid database, uint64 lanes, const WorkerNews *news);
extern void wake_all_workers(Oid database);

/*
 * The lanes that are the slot's share among the workers of its database that
 * are ready. The caller holds the lock.
 */
extern uint64 wake_share(const WorkerSlot *slot);

/* Nothing new, and everything. */
extern void wake_clear_news(WorkerNews *news);
extern void wake_spoil_news(WorkerNews *news);

/* The caller holds the lock. */
extern bool wake_is_aside(Oid database);
extern void wake_request_worker(Oid database);

/* For the hooks of shared memory. */
extern void wake_shmem_request(void);
extern void wake_shmem_startup(void);

#endif /* WAKE_SHARED_H */

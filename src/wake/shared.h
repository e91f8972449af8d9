/*
 * wake/shared.h: the state shared by the launcher, workers and sessions.
 *
 * The launcher assigns a slot to each worker that it starts and frees it when
 * the process has ended. The worker fills in its slot. A session that commits
 * events looks for slots of its database, and asks the launcher for a worker if
 * there are none.
 */
#ifndef WAKE_SHARED_H
#define WAKE_SHARED_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "datatype/timestamp.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

/* How a worker process ended. */
typedef enum WorkerOutcome
{
	WORKER_FAILED,	/* by an error or a signal; also set while it runs */
	WORKER_ABSENT,	/* the extension is not installed in its database */
	WORKER_STOPPED, /* on request, or to make room for a new worker */
	WORKER_KILLED	/* by an event, whose attempt will be counted */
} WorkerOutcome;

/*
 * What commits have changed in the queue: the points from which a worker has to
 * search it again.
 */
typedef struct WorkerNews
{
	pg_uuid_t lowest;	  /* lowest id of a new event; all bits set: none */
	TimestampTz earliest; /* due time of a retry; DT_NOEND: none */
	TimestampTz expiry;	  /* of an external claim; DT_NOEND: none */
} WorkerNews;

typedef struct WorkerSlot
{
	Oid database;	   /* InvalidOid: the slot is free */
	int index;		   /* among the workers of its database, from 0 */
	uint32 generation; /* tells a late process that the slot was reused */
	Latch *latch;	   /* NULL before the process starts and after it ends */
	bool ready;		   /* found the extension and works on the queue */
	bool asleep;	   /* waits on its latch */
	bool roused;	   /* was woken since it last took its news */
	bool stop;		   /* is asked to exit */
	bool settles;	   /* what dead workers left: see worker/postmortem.c */
	WorkerNews news;   /* since the worker last took them */
	int64 unmerged;	   /* changes of conversations: see wake/changes.c */
	WorkerOutcome outcome;
} WorkerSlot;

/* Databases that sessions request a check of; if full, all are checked. */
#define WORKER_MAX_REQUESTS 64

/* Databases that commands need without connections at the same time. */
#define WORKER_MAX_ASIDE 16

typedef struct WorkerShared
{
	LWLock *lock; /* guards all that follows */
	Latch *launcher;
	bool look_at_all;
	int nrequests;
	Oid requests[WORKER_MAX_REQUESTS];
	Oid aside[WORKER_MAX_ASIDE]; /* InvalidOid: free */
	ConditionVariable ended;	 /* broadcast when a worker has ended */
	int crashes;				 /* see crashes_in_a_row */
	pg_atomic_uint32 records;	 /* changes when a dead worker's record does;
								  * not guarded by the lock */
	int nslots;
	WorkerSlot slots[FLEXIBLE_ARRAY_MEMBER];
} WorkerShared;

/* NULL when the module is not preloaded. */
extern WorkerShared *wake_shared;

/*
 * Wakes the workers of the database that own these lanes, or asks the launcher
 * for a worker. wake_all_workers() makes them search the whole queue.
 */
extern void wake_workers(Oid database, uint64 lanes, const WorkerNews *news);
extern void wake_all_workers(Oid database);

/* Wakes the worker of the slot. The caller holds the lock. */
extern void wake_rouse(WorkerSlot *slot);

/*
 * Returns the slot's share of the lanes, which are divided among the ready
 * workers of its database. The caller holds the lock.
 */
extern uint64 wake_share(const WorkerSlot *slot);

/* Set the news to nothing, and to everything. */
extern void wake_clear_news(WorkerNews *news);
extern void wake_spoil_news(WorkerNews *news);

/* The caller holds the lock. */
extern bool wake_is_aside(Oid database);
extern void wake_request_worker(Oid database);

/* For the hooks of shared memory. */
extern void wake_shmem_request(void);
extern void wake_shmem_startup(void);

#endif /* WAKE_SHARED_H */

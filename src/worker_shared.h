/*
 * worker_shared.h: what launcher, workers and sessions know of each other.
 *
 * The launcher gives a slot to each worker it starts and takes it back when
 * the process has ended; the worker fills it; a session that commits events
 * looks for a slot of its database, and asks the launcher when there is none.
 */
#ifndef WORKER_SHARED_H
#define WORKER_SHARED_H

#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

/* How a worker's process ended, or that it has not. */
typedef enum WorkerOutcome
{
	WORKER_FAILED, /* without a word: an error, a signal */
	WORKER_ABSENT, /* the extension is not in its database */
	WORKER_STOPPED /* it was not wanted any more */
} WorkerOutcome;

typedef struct WorkerSlot
{
	Oid database;	   /* InvalidOid: the slot is free */
	int index;		   /* among the workers of its database, from 0 */
	uint32 generation; /* of the slot's use: a late process must not take it */
	Latch *latch;	   /* NULL before the process came up and after its end */
	bool ready;		   /* found the extension and looks at the queue */
	bool asleep;	   /* waits for its latch */
	bool stop;		   /* is asked to end */
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
extern WorkerShared *worker_shared;

/* Wakes one worker of the database, or asks the launcher for one. */
extern void worker_wake(Oid database);

/* The caller holds the lock. */
extern bool worker_is_aside(Oid database);
extern void worker_request(Oid database);

/* For the module's door. */
extern void worker_launcher_register(void);
extern void worker_aside_init(void);

#endif /* WORKER_SHARED_H */

/*
 * worker_shared.c: waking workers, at the end of the transaction that has work
 * for them.
 *
 * A commit finds a sleeping worker by its slot and sets its latch; one that is
 * busy gets its latch set as well, because it may have looked at the queue for
 * the last time already. Setting the latch of a process that runs is a store
 * to memory: a stream of commits costs a busy worker nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "msgstore.h"
#include "worker.h"
#include "worker_shared.h"

WorkerShared *worker_shared = NULL;

/* Whether the open transaction's commit is to wake a worker. */
static bool wake_at_commit = false;

/*
 * The deepest level of subtransactions that holds events, 0 if none does: its
 * end by an abort lets go of them.
 */
static int holding_level = 0;

static Size shared_size(void);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event,
								  SubTransactionId own,
								  SubTransactionId parent,
								  void *arg);

void
worker_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	worker_aside_init();
	worker_launcher_register();
}

void
worker_shmem_request(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("msgstore", 1);
}

void
worker_shmem_startup(void)
{
	bool found;

	worker_shared = ShmemInitStruct("msgstore workers", shared_size(), &found);
	if (found)
		return;
	memset(worker_shared, 0, shared_size());
	worker_shared->lock = &GetNamedLWLockTranche("msgstore")->lock;
	worker_shared->nslots = max_worker_processes;
	ConditionVariableInit(&worker_shared->ended);
}

/* A worker of ours is a background worker, so there are never more slots. */
static Size
shared_size(void)
{
	return add_size(offsetof(WorkerShared, slots),
					mul_size(max_worker_processes, sizeof(WorkerSlot)));
}

void
worker_wake_at_commit(void)
{
	wake_at_commit = true;
}

void
worker_wake_at_abort(void)
{
	holding_level = Max(holding_level, GetCurrentTransactionNestLevel());
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	bool wake = false;

	(void) arg;
	if (event == XACT_EVENT_COMMIT)
		wake = wake_at_commit;
	else if (event == XACT_EVENT_ABORT)
		wake = holding_level > 0;
	else if (event != XACT_EVENT_PREPARE)
		return;
	wake_at_commit = false;
	holding_level = 0;
	if (wake && worker_shared != NULL)
		worker_wake(MyDatabaseId);
}

/*
 * A batch that fails in its own subtransaction is below the level that holds
 * its events, and wakes nobody.
 */
static void
at_subtransaction_end(SubXactEvent event,
					  SubTransactionId own,
					  SubTransactionId parent,
					  void *arg)
{
	(void) own;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB && worker_shared != NULL &&
		GetCurrentTransactionNestLevel() <= holding_level)
		worker_wake(MyDatabaseId);
}

void
worker_wake(Oid database)
{
	WorkerSlot *sleeper = NULL;
	bool ready = false;
	int i;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < worker_shared->nslots && sleeper == NULL; i++)
	{
		WorkerSlot *slot = &worker_shared->slots[i];

		if (slot->database != database || slot->latch == NULL)
			continue;
		ready |= slot->ready;
		if (slot->asleep)
			sleeper = slot;
		else if (slot->latch != MyLatch)
			SetLatch(slot->latch);
	}
	if (sleeper != NULL)
	{
		sleeper->asleep = false;
		SetLatch(sleeper->latch);
	}
	else if (!ready && msgstore_workers > 0)
		worker_request(database);
	LWLockRelease(worker_shared->lock);
}

bool
worker_is_aside(Oid database)
{
	int i;

	for (i = 0; i < WORKER_MAX_ASIDE; i++)
	{
		if (worker_shared->aside[i] == database)
			return true;
	}
	return false;
}

/* A request that is there already has woken the launcher already. */
void
worker_request(Oid database)
{
	int i;

	for (i = 0; i < worker_shared->nrequests; i++)
	{
		if (worker_shared->requests[i] == database)
			return;
	}
	if (worker_shared->nrequests < WORKER_MAX_REQUESTS)
		worker_shared->requests[worker_shared->nrequests++] = database;
	else
		worker_shared->look_at_all = true;
	if (worker_shared->launcher != NULL)
		SetLatch(worker_shared->launcher);
}

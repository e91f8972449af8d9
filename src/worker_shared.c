/*
 * worker_shared.c: waking workers, at the end of the transaction that has work
 * for them.
 *
 * A commit finds the workers whose lanes it has events for by their slots and
 * sets their latches, also those of busy ones, which may have looked at the
 * queue for the last time already. Setting the latch of a process that runs is
 * a store to memory: a stream of commits costs a busy worker nothing.
 *
 * It also tells them from where on the queue has changed, so that they need
 * not walk again over what they have left behind: see worker_search.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/resowner.h"

#include "msgstore.h"
#include "worker.h"
#include "worker_lanes.h"
#include "worker_shared.h"

WorkerShared *worker_shared = NULL;

/* What the open transaction's commit has to tell, and to which lanes. */
static uint64 wake_lanes = 0;
static WorkerNews news;

/*
 * The deepest level of subtransactions that holds events, 0 if none does: its
 * end by an abort lets go of them.
 */
static int holding_level = 0;

/*
 * To whom the end that is under way has to tell it. They are told when the
 * locks are gone: who woke before would pass by the lanes once more.
 */
static uint64 ended_lanes = 0;
static WorkerNews ended_news;

static Size shared_size(void);
static void begin_news(void);
static void add_news(WorkerNews *to, const WorkerNews *changes);
static void rouse(WorkerSlot *slot);
static void at_transaction_end(XactEvent event, void *arg);
static void release_all(void);
static void at_locks_released(ResourceReleasePhase phase,
							  bool is_commit,
							  bool is_top_level,
							  void *arg);
static void at_subtransaction_end(SubXactEvent event,
								  SubTransactionId own,
								  SubTransactionId parent,
								  void *arg);

void
worker_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterResourceReleaseCallback(at_locks_released, NULL);
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
	begin_news();
	wake_lanes = WORKER_ALL_LANES;
	worker_spoil_news(&news);
}

void
worker_wake_for_event(const pg_uuid_t *id, int lane)
{
	begin_news();
	wake_lanes |= UINT64CONST(1) << lane;
	if (memcmp(id, &news.lowest, sizeof(pg_uuid_t)) < 0)
		news.lowest = *id;
}

void
worker_wake_for_retry(TimestampTz at, int lane)
{
	begin_news();
	wake_lanes |= UINT64CONST(1) << lane;
	news.earliest = Min(news.earliest, at);
}

void
worker_wake_for_claim(TimestampTz expiry)
{
	begin_news();
	wake_lanes = WORKER_ALL_LANES;
	news.expiry = Min(news.expiry, expiry);
}

void
worker_wake_at_abort(void)
{
	holding_level = Max(holding_level, GetCurrentTransactionNestLevel());
}

static void
begin_news(void)
{
	if (wake_lanes == 0)
		worker_clear_news(&news);
}

void
worker_clear_news(WorkerNews *news)
{
	memset(&news->lowest, 0xff, sizeof(pg_uuid_t));
	news->earliest = DT_NOEND;
	news->expiry = DT_NOEND;
}

void
worker_spoil_news(WorkerNews *news)
{
	memset(&news->lowest, 0, sizeof(pg_uuid_t));
	news->earliest = DT_NOBEGIN;
	news->expiry = DT_NOBEGIN;
}

/*
 * A prepared transaction tells nothing: it is not known then what became of
 * it. Its end makes the workers look at everything.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT)
	{
		ended_lanes = wake_lanes;
		ended_news = news;
	}
	else if (event == XACT_EVENT_ABORT && holding_level > 0)
		release_all();
	else if (event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	wake_lanes = 0;
	holding_level = 0;
}

static void
release_all(void)
{
	ended_lanes = WORKER_ALL_LANES;
	worker_spoil_news(&ended_news);
}

static void
at_locks_released(ResourceReleasePhase phase,
				  bool is_commit,
				  bool is_top_level,
				  void *arg)
{
	uint64 lanes = ended_lanes;

	(void) is_commit;
	(void) is_top_level;
	(void) arg;
	if (lanes == 0 || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	ended_lanes = 0;
	if (worker_shared != NULL)
		worker_wake(MyDatabaseId, lanes, &ended_news);
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
	if (event == SUBXACT_EVENT_ABORT_SUB &&
		GetCurrentTransactionNestLevel() <= holding_level)
		release_all();
}

void
worker_wake_all(Oid database)
{
	WorkerNews everything;

	worker_spoil_news(&everything);
	worker_wake(database, WORKER_ALL_LANES, &everything);
}

void
worker_wake(Oid database, uint64 lanes, const WorkerNews *changes)
{
	bool ready = false;
	int i;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < worker_shared->nslots; i++)
	{
		WorkerSlot *slot = &worker_shared->slots[i];

		if (slot->database != database || slot->latch == NULL)
			continue;
		ready |= slot->ready;
		/* Shares change: all are told, whose lanes these may come to be. */
		add_news(&slot->news, changes);
		if (!slot->ready || (worker_share(slot) & lanes) != 0)
			rouse(slot);
	}
	if (!ready && msgstore_workers > 0)
		worker_request(database);
	LWLockRelease(worker_shared->lock);
}

static void
add_news(WorkerNews *to, const WorkerNews *changes)
{
	if (memcmp(&changes->lowest, &to->lowest, sizeof(pg_uuid_t)) < 0)
		to->lowest = changes->lowest;
	to->earliest = Min(to->earliest, changes->earliest);
	to->expiry = Min(to->expiry, changes->expiry);
}

static void
rouse(WorkerSlot *slot)
{
	if (slot->latch != MyLatch || slot->asleep)
	{
		SetLatch(slot->latch);
		slot->roused = true;
	}
	slot->asleep = false;
}

uint64
worker_share(const WorkerSlot *own)
{
	uint64 share = 0;
	int rank = 0;
	int n = 0;
	int i;

	for (i = 0; i < worker_shared->nslots; i++)
	{
		const WorkerSlot *slot = &worker_shared->slots[i];

		if (slot->database != own->database || !slot->ready)
			continue;
		rank += slot->index < own->index;
		n++;
	}
	for (i = rank; i < WORKER_LANES && n > 0; i += n)
		share |= UINT64CONST(1) << i;
	return share;
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

/*
 * wake/shared.c: the shared memory through which the launcher, workers and
 * sessions find each other.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "server/settings.h"
#include "wake/lanes.h"
#include "wake/shared.h"

WorkerShared *wake_shared = NULL;

/* A server that ran for this long has recovered: milliseconds. */
#define STEADY_AFTER 60000

/*
 * How often the server has restarted after a crash, each time soon after it had
 * started. The postmaster remembers it when shared memory is made again.
 */
static int crashes_in_a_row = 0;
static TimestampTz shared_since = 0;

static void count_crash(void);
static Size shared_size(void);
static void add_news(WorkerNews *to, const WorkerNews *changes);

void
wake_shmem_request(void)
{
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("msgstore", 1);
}

void
wake_shmem_startup(void)
{
	bool found;

	wake_shared = ShmemInitStruct("msgstore workers", shared_size(), &found);
	if (found)
		return;
	memset(wake_shared, 0, shared_size());
	wake_shared->lock = &GetNamedLWLockTranche("msgstore")->lock;
	wake_shared->nslots = max_worker_processes;
	count_crash();
	wake_shared->crashes = crashes_in_a_row;
	/* Not 0: workers start with a look at the records. */
	pg_atomic_init_u32(&wake_shared->records, 1);
	ConditionVariableInit(&wake_shared->ended);
}

static void
count_crash(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (shared_since != 0 &&
		!TimestampDifferenceExceeds(shared_since, now, STEADY_AFTER))
		crashes_in_a_row++;
	else
		crashes_in_a_row = 0;
	shared_since = now;
}

/* Each worker is a background worker, so there are never more than these. */
static Size
shared_size(void)
{
	return add_size(offsetof(WorkerShared, slots),
					mul_size(max_worker_processes, sizeof(WorkerSlot)));
}

void
wake_clear_news(WorkerNews *news)
{
	memset(&news->lowest, 0xff, sizeof(pg_uuid_t));
	news->earliest = DT_NOEND;
	news->expiry = DT_NOEND;
}

void
wake_spoil_news(WorkerNews *news)
{
	memset(&news->lowest, 0, sizeof(pg_uuid_t));
	news->earliest = DT_NOBEGIN;
	news->expiry = DT_NOBEGIN;
}

void
wake_all_workers(Oid database)
{
	WorkerNews everything;

	wake_spoil_news(&everything);
	wake_workers(database, LANES_ALL, &everything);
}

void
wake_workers(Oid database, uint64 lanes, const WorkerNews *changes)
{
	bool ready = false;
	int i;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < wake_shared->nslots; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];

		if (slot->database != database || slot->latch == NULL)
			continue;
		ready |= slot->ready;
		/* Lanes can be reassigned, so every worker of the database is told. */
		add_news(&slot->news, changes);
		if (!slot->ready || (wake_share(slot) & lanes) != 0)
			wake_rouse(slot);
	}
	if (!ready && msgstore_workers > 0)
		wake_request_worker(database);
	LWLockRelease(wake_shared->lock);
}

static void
add_news(WorkerNews *to, const WorkerNews *changes)
{
	if (memcmp(&changes->lowest, &to->lowest, sizeof(pg_uuid_t)) < 0)
		to->lowest = changes->lowest;
	to->earliest = Min(to->earliest, changes->earliest);
	to->expiry = Min(to->expiry, changes->expiry);
}

void
wake_rouse(WorkerSlot *slot)
{
	if (slot->latch != MyLatch || slot->asleep)
	{
		SetLatch(slot->latch);
		slot->roused = true;
	}
	slot->asleep = false;
}

uint64
wake_share(const WorkerSlot *own)
{
	uint64 share = 0;
	int rank = 0;
	int n = 0;
	int i;

	for (i = 0; i < wake_shared->nslots; i++)
	{
		const WorkerSlot *slot = &wake_shared->slots[i];

		if (slot->database != own->database || !slot->ready)
			continue;
		rank += slot->index < own->index;
		n++;
	}
	for (i = rank; i < LANES && n > 0; i += n)
		share |= UINT64CONST(1) << i;
	return share;
}

bool
wake_is_aside(Oid database)
{
	int i;

	for (i = 0; i < WORKER_MAX_ASIDE; i++)
	{
		if (wake_shared->aside[i] == database)
			return true;
	}
	return false;
}

/* A request that is already listed has already woken the launcher. */
void
wake_request_worker(Oid database)
{
	int i;

	for (i = 0; i < wake_shared->nrequests; i++)
	{
		if (wake_shared->requests[i] == database)
			return;
	}
	if (wake_shared->nrequests < WORKER_MAX_REQUESTS)
		wake_shared->requests[wake_shared->nrequests++] = database;
	else
		wake_shared->look_at_all = true;
	if (wake_shared->launcher != NULL)
		SetLatch(wake_shared->launcher);
}

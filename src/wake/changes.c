/*
 * wake/changes.c: counts the changes of conversations that are not merged, see
 * conversations/merge.c.
 *
 * A commit counts its changes in the slot of the worker that merges them. It
 * wakes the worker for the first ones, so that it merges them after a while,
 * and when they become too many. The commits in between cost a lock and an
 * addition. The count may be wrong after a worker has ended: a new one merges
 * at once.
 *
 * While changes keep coming, the worker lets them gather: a merge writes each
 * conversation once, so fewer merges write less.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "wake/changes.h"
#include "wake/outbox.h"
#include "wake/shared.h"

/* Changes that are merged at once. */
#define MOST_CHANGES 50000

/* Fewer are merged when none were added for so long, or so long after the
 * first: milliseconds. */
#define QUIET_DELAY 1000
#define MERGE_DELAY 10000

/* What the current transaction will count at commit. */
static int added = 0;

/*
 * In the worker: when the first and the last changes that it has not merged
 * were noticed, and how many there were then.
 */
static TimestampTz noticed_at = 0;
static TimestampTz grown_at = 0;
static int64 noticed = 0;

static void at_transaction_end(XactEvent event, void *arg);
static void count(int changes);
static WorkerSlot *find_slot(void);

void
wake_changes_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
wake_for_changes(int changes)
{
	added += changes;
}

bool
wake_merges_changes(void)
{
	bool found;

	if (wake_shared == NULL)
		return false;
	LWLockAcquire(wake_shared->lock, LW_SHARED);
	found = find_slot() != NULL;
	LWLockRelease(wake_shared->lock);
	return found;
}

TimestampTz
wake_changes_due(void)
{
	TimestampTz now = GetCurrentTimestamp();
	WorkerSlot *slot;
	int64 unmerged;

	LWLockAcquire(wake_shared->lock, LW_SHARED);
	slot = find_slot();
	unmerged = slot != NULL ? slot->unmerged : 0;
	LWLockRelease(wake_shared->lock);
	if (unmerged == 0)
		return DT_NOEND;
	if (unmerged >= MOST_CHANGES)
		return DT_NOBEGIN;
	if (noticed == 0)
		noticed_at = now;
	if (unmerged != noticed)
		grown_at = now;
	noticed = unmerged;
	return Min(TimestampTzPlusMilliseconds(noticed_at, MERGE_DELAY),
			   TimestampTzPlusMilliseconds(grown_at, QUIET_DELAY));
}

void
wake_take_changes(void)
{
	WorkerSlot *slot;

	noticed = 0;
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	slot = find_slot();
	if (slot != NULL)
		slot->unmerged = 0;
	LWLockRelease(wake_shared->lock);
}

/*
 * A subtransaction that was rolled back is counted, too. COMMIT PREPARED makes
 * the workers look at everything: see worker/aside.c.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	int changes = added;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	added = 0;
	if (event == XACT_EVENT_COMMIT && changes > 0 && wake_shared != NULL)
		count(changes);
}

static void
count(int changes)
{
	WorkerSlot *slot;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	slot = find_slot();
	if (slot != NULL)
	{
		int64 before = slot->unmerged;

		slot->unmerged += changes;
		if (before == 0 ||
			(before < MOST_CHANGES && slot->unmerged >= MOST_CHANGES))
			wake_rouse(slot);
	}
	LWLockRelease(wake_shared->lock);
}

/* The slot of the worker that runs the periodic tasks; NULL if there is none.
 */
static WorkerSlot *
find_slot(void)
{
	int i;

	for (i = 0; i < wake_shared->nslots; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];

		if (slot->database == MyDatabaseId && slot->latch != NULL &&
			(wake_share(slot) & WAKE_OUTBOX_LANES) != 0)
			return slot;
	}
	return NULL;
}

/*
 * worker/postmortem.c: settles the events of workers that died applying them.
 *
 * A worker that dies of an event leaves a record: see worker/recorder.c. If a
 * handler was running, the death counts as a failed attempt of its event. All
 * other events of the record are applied one by one, each in a transaction of
 * its own: the process may have died of another one than it seems, for example
 * of a trigger, and a batch with several such events must not be tried again
 * as a whole for each of them. An event that is applied alone is recorded
 * alone, so that the next death counts as an attempt of it.
 *
 * One worker of the database does this. The others, and itself with batches,
 * stay away from the lanes of the record until it is done, so that no worker
 * dies of an event that is about to be settled, and order is kept.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "server/statement.h"
#include "stats/stats.h"
#include "stats/worker.h"
#include "tenancy/placement.h"
#include "wake/lanes.h"
#include "wake/wake.h"
#include "worker/apply.h"
#include "worker/batch.h"
#include "worker/failures.h"
#include "worker/order.h"
#include "worker/postmortem.h"
#include "worker/recorder.h"
#include "worker/take.h"

static Statement find_event = {
	.sql = "SELECT " WORKER_EVENT_COLUMNS
		   " FROM (SELECT *, ctid AS row FROM msgstore.event_queue) q"
		   " JOIN msgstore.event_log l"
		   " ON l.tenant_id = q.tenant_id AND l.id = q.event_id"
		   " WHERE q.tenant_id = $1 AND q.event_id = $2"
		   " AND coalesce(q.next_attempt_at, '-infinity') <= $3",
	.nargs = 3,
	.argtypes = {TEXTOID, UUIDOID, TIMESTAMPTZOID},
	.table = "event_log"};

/* The records of the database that are not settled. */
static List *records = NIL;
static MemoryContext memory = NULL;

static void read_records(void);
static bool is_settler(WorkerSlot *own);
static bool count_death(Record *record, TimestampTz due);
static bool apply_next(Record *record, TimestampTz due, uint64 *locked);
static bool
claim_event(const RecordedEvent *event, TimestampTz due, WorkerBatch *batch);

uint64
postmortem_lanes(WorkerSlot *own)
{
	uint64 lanes = 0;
	ListCell *cell;

	if (recorder_take_news())
		read_records();
	foreach (cell, records)
		lanes |= ((Record *) lfirst(cell))->lanes;
	if (lanes == 0)
		own->settles = false;
	return lanes;
}

static void
read_records(void)
{
	MemoryContext caller;

	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext,
									   "msgstore records",
									   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(memory);
	caller = MemoryContextSwitchTo(memory);
	records = recorder_read(MyDatabaseId);
	MemoryContextSwitchTo(caller);
}

/* Counts all deaths first: an event can be in more than one record. */
bool
postmortem_step(WorkerSlot *own, TimestampTz due)
{
	uint64 locked = 0;
	ListCell *cell;

	if (records == NIL || !is_settler(own))
		return false;
	foreach (cell, records)
	{
		Record *record = lfirst(cell);

		if (record->culprit >= 0 && count_death(record, due))
			return true;
	}
	foreach (cell, records)
	{
		Record *record = lfirst(cell);

		if (record->culprit < 0 && apply_next(record, due, &locked))
			return true;
	}
	return false;
}

/* The first worker that asks, as long as it lives and records are left. */
static bool
is_settler(WorkerSlot *own)
{
	bool taken = false;
	int i;

	if (own->settles)
		return true;
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < wake_shared->nslots; i++)
	{
		const WorkerSlot *slot = &wake_shared->slots[i];

		taken |= slot->database == own->database && slot->latch != NULL &&
				 slot->settles;
	}
	own->settles = !taken;
	LWLockRelease(wake_shared->lock);
	return !taken;
}

/*
 * Returns false if the lane is locked. The record is changed before the commit:
 * a crash in between makes one attempt uncounted, not one counted twice.
 */
static bool
count_death(Record *record, TimestampTz due)
{
	WorkerFailure failure = {.code = "MS500",
							 .message =
								 "process died while applying the event"};
	WorkerBatch batch;
	bool dead;

	if (!claim_event(&record->events[record->culprit], due, &batch))
		return false;
	record->events[record->culprit].settled = true;
	recorder_acquit(record);
	worker_lock_events(&batch);
	if (batch.n == 0)
		return true;
	dead = worker_keep_failure(&batch.messages[0], &failure);
	batch.has_lines = true;
	worker_open_line(&batch, 0, dead);
	stats_worker_done(0, !dead, dead);
	return true;
}

/*
 * Applies the next event that is still due. Returns false if all that are left
 * are locked. Removes the record when none is left.
 *
 * locked gets the lanes that were found locked. They are not tried again for
 * later events of this step: the process that died may release a lane
 * meanwhile, and a later event of a conversation must not overtake an earlier
 * one.
 */
static bool
apply_next(Record *record, TimestampTz due, uint64 *locked)
{
	WorkerBatch batch;
	bool all_settled = true;
	int left;
	int i;

	for (i = 0; i < record->n; i++)
	{
		RecordedEvent *event = &record->events[i];
		uint64 lane = UINT64CONST(1) << event->lane;

		if (event->settled)
			continue;
		event->settled =
			(*locked & lane) == 0 && claim_event(event, due, &batch);
		if (!event->settled)
		{
			*locked |= lane;
			all_settled = false;
		}
		if (!event->settled || batch.n == 0)
			continue;
		stats_count(STATS_WORKER_CLAIMED, 1);
		stats_worker_batch(1);
		worker_apply_batch(&batch, &left);
		return true;
	}
	if (!all_settled)
		return false;
	recorder_remove(record);
	records = list_delete_ptr(records, record);
	/* The other workers may take these lanes again. */
	wake_at_commit();
	return true;
}

/*
 * Locks the event's lane and reads the event, or nothing if it is no longer
 * due. Returns false if the lane is locked.
 */
static bool
claim_event(const RecordedEvent *event, TimestampTz due, WorkerBatch *batch)
{
	uint64 lane = UINT64CONST(1) << event->lane;
	Datum values[3];

	wake_at_abort();
	if (placement_is_fenced(text_to_cstring(event->tenant_id)) ||
		lanes_take(lane) == 0)
		return false;
	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	values[2] = TimestampTzGetDatum(due);
	statement_execute(&find_event, values, NULL);
	worker_make_batch(batch);
	worker_read_events(batch);
	if (batch->n > 0 &&
		(batch->lane[0] != event->lane ||
		 placement_is_elsewhere(text_to_cstring(event->tenant_id))))
		batch->n = 0;
	if (batch->n == 0)
		lanes_give(lane);
	return true;
}

/*
 * worker/take.c: takes the events of a batch out of the queue.
 *
 * The rows were read with their lanes locked, so nobody else processes them;
 * but other sessions may claim, erase or requeue the events. The rows are
 * deleted by ctid, without an index scan, without locking them first and
 * without waiting: a session that changes a row meanwhile owns the event.
 * Locking the rows and deleting them by a statement took a tenth of a worker's
 * time, and a row lock writes WAL like an update.
 *
 * If the queue has triggers or rules, a statement is used.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "server/statement.h"
#include "server/tables.h"
#include "server/triggers.h"
#include "worker/take.h"

static Statement delete_rows = {
	.sql = "DELETE FROM msgstore.event_queue q"
		   " USING unnest($1, $2) AS d (tenant_id, event_id)"
		   " WHERE q.tenant_id = d.tenant_id AND q.event_id = d.event_id",
	.nargs = 2,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID}};

typedef bool (*RowAction)(Relation queue, ItemPointer row);

static int
act_on(Relation queue, RowAction action, WorkerBatch *batch, int first, int n);
static bool lock_row(Relation queue, ItemPointer row);
static bool delete_row(Relation queue, ItemPointer row);
static TM_Result try_delete(Relation queue, ItemPointer row, bool wait);

void
worker_lock_events(WorkerBatch *batch)
{
	Relation queue = tables_open_rows("event_queue", RowExclusiveLock);

	(void) act_on(queue, lock_row, batch, 0, batch->n);
	table_close(queue, NoLock);
}

int
worker_take_events(WorkerBatch *batch, int first, int n)
{
	Relation queue = tables_open_rows("event_queue", RowExclusiveLock);

	if (queue->trigdesc == NULL && queue->rd_rules == NULL)
	{
		CheckCmdReplicaIdentity(queue, CMD_DELETE);
		n = act_on(queue, delete_row, batch, first, n);
	}
	else
	{
		n = act_on(queue, lock_row, batch, first, n);
		worker_delete_events(batch, first, n);
	}
	table_close(queue, NoLock);
	/* Statements that follow must see the rows deleted. */
	CommandCounterIncrement();
	return n;
}

/* Removes events for which the action fails. Returns how many are left. */
static int
act_on(Relation queue, RowAction action, WorkerBatch *batch, int first, int n)
{
	int kept = first;
	int i;

	for (i = first; i < batch->n; i++)
	{
		if (i < first + n && !action(queue, &batch->row[i]))
			continue;
		if (i != kept)
			worker_move_event(batch, i, kept);
		kept++;
	}
	n -= batch->n - kept;
	batch->n = kept;
	return n;
}

static bool
lock_row(Relation queue, ItemPointer row)
{
	TupleTableSlot *slot = table_slot_create(queue, NULL);
	TM_FailureData failure;
	TM_Result result;

	result = table_tuple_lock(queue,
							  row,
							  GetActiveSnapshot(),
							  slot,
							  GetCurrentCommandId(false),
							  LockTupleExclusive,
							  LockWaitSkip,
							  0,
							  &failure);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

/*
 * Without waiting, a row locked by this transaction itself also counts as being
 * modified: lock it again to find out.
 */
static bool
delete_row(Relation queue, ItemPointer row)
{
	TM_Result result = try_delete(queue, row, false);

	if (result == TM_BeingModified && lock_row(queue, row))
		result = try_delete(queue, row, true);
	return result == TM_Ok;
}

static TM_Result
try_delete(Relation queue, ItemPointer row, bool wait)
{
	TM_FailureData failure;

	return table_tuple_delete(queue,
							  row,
							  GetCurrentCommandId(true),
#if PG_VERSION_NUM >= 190000
							  0,
#endif
							  GetActiveSnapshot(),
							  InvalidSnapshot,
							  wait,
							  &failure
#if PG_VERSION_NUM < 190000
							  ,
							  false
#endif
	);
}

void
worker_delete_events(const WorkerBatch *batch, int first, int n)
{
	Datum values[2];

	if (n == 0)
		return;
	worker_keys(batch, first, n, &values[0], &values[1]);
	statement_execute(&delete_rows, values, NULL);
	if (SPI_processed != (uint64) n)
		triggers_report("event_queue", TRIGGER_TYPE_DELETE);
}

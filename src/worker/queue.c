/*
 * worker/queue.c: reads new events of the queue in the order of their ids.
 *
 * A statement that reads them makes a row of each for its result, which took
 * longer than to find it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "server/tables.h"
#include "server/versions.h"
#include "worker/queue.h"

#define KEY_COLUMNS 2

/* The columns of event_queue. */
enum
{
	TENANT_ID = 1,
	EVENT_ID,
	NEXT_ATTEMPT_AT,
	LANE
};

bool
queue_open(QueueReader *queue)
{
	queue->table = tables_open("event_queue", AccessShareLock);
	queue->index = tables_open_index(queue->table, "event_queue_pkey");
	if (queue->index == NULL)
	{
		table_close(queue->table, NoLock);
		return false;
	}
	queue->slot = table_slot_create(queue->table, NULL);
	queue->scan = index_beginscan(queue->table,
								  queue->index,
								  GetActiveSnapshot(),
								  NULL,
								  KEY_COLUMNS,
								  0,
								  0);
	return true;
}

void
queue_close(QueueReader *queue)
{
	index_endscan(queue->scan);
	ExecDropSingleTupleTableSlot(queue->slot);
	index_close(queue->index, NoLock);
	table_close(queue->table, NoLock);
}

void
queue_seek(QueueReader *queue, const text *tenant_id, const pg_uuid_t *after)
{
	ScanKeyData keys[KEY_COLUMNS];

	/* The column has the collation C, as ScanKeyInit() assumes. */
	ScanKeyInit(&keys[0],
				TENANT_ID,
				BTEqualStrategyNumber,
				F_TEXTEQ,
				PointerGetDatum(tenant_id));
	ScanKeyInit(&keys[1],
				EVENT_ID,
				BTGreaterStrategyNumber,
				F_UUID_GT,
				UUIDPGetDatum(after));
	index_rescan(queue->scan, keys, KEY_COLUMNS, NULL, 0);
}

/* A new event is one that is not to be retried at some time. */
bool
queue_next(QueueReader *queue, uint64 lanes, QueuedEvent *event)
{
	TupleTableSlot *slot = queue->slot;

	while (index_getnext_slot(queue->scan, ForwardScanDirection, slot))
	{
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		event->lane = DatumGetInt16(slot_getattr(slot, LANE, &isnull));
		if ((lanes & (UINT64CONST(1) << event->lane)) == 0 ||
			!slot_attisnull(slot, NEXT_ATTEMPT_AT))
			continue;
		event->id = *DatumGetUUIDP(slot_getattr(slot, EVENT_ID, &isnull));
		event->row = slot->tts_tid;
		return true;
	}
	return false;
}

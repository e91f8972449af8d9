/*
 * worker/log.c: reads events of the log in the order of their ids.
 *
 * The events of a batch are mostly neighbors in the log. So one scan of the
 * primary key goes from each to the next; a join that looked up each of them
 * from the root of the index took a tenth of a worker's time.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "address/address.h"
#include "conversations/event.h"
#include "inbox/log.h"
#include "server/tables.h"
#include "server/versions.h"
#include "worker/log.h"

/* Entries passed to get to the next event; beyond it, to search is cheaper. */
#define MOST_STEPS 64

/* The columns of the index. */
#define KEY_ID 2
#define KEY_COLUMNS 2

static bool find(LogReader *log, const text *tenant_id, const pg_uuid_t *id);
static bool pass_to(LogReader *log, const text *tenant_id, const pg_uuid_t *id);
static void seek(LogReader *log, const text *tenant_id, const pg_uuid_t *id);
static void step(LogReader *log);
static int compare_ids(const pg_uuid_t *a, const pg_uuid_t *b);

bool
log_open(LogReader *log)
{
	memset(log, 0, sizeof(LogReader));
	log->table = tables_open("event_log", AccessShareLock);
	log->index = tables_open_index(log->table, LOG_PRIMARY_KEY);
	if (log->index == NULL)
	{
		table_close(log->table, NoLock);
		return false;
	}
	log->slot = table_slot_create(log->table, NULL);
	log->scan = index_beginscan(log->table,
								log->index,
								GetActiveSnapshot(),
								NULL,
								KEY_COLUMNS,
								0,
								0);
	log->scan->xs_want_itup = true;
	return true;
}

void
log_close(LogReader *log)
{
	index_endscan(log->scan);
	ExecDropSingleTupleTableSlot(log->slot);
	index_close(log->index, NoLock);
	table_close(log->table, NoLock);
}

bool
log_read(LogReader *log,
		 const text *tenant_id,
		 const pg_uuid_t *id,
		 ConversationMessage *message,
		 TimestampTz *accepted_at)
{
	/* As EVENT_COLUMNS. */
	static const int columns[EVENT_NCOLUMNS] = {LOG_TENANT_ID,
												LOG_ID,
												LOG_CHANNEL,
												LOG_FROM,
												LOG_TO,
												LOG_PROVIDER_MESSAGE_ID,
												LOG_CORRELATION_ID,
												LOG_PAYLOAD,
												LOG_CREATED_AT};
	Datum values[EVENT_NCOLUMNS];
	bool nulls[EVENT_NCOLUMNS];
	int i;

	if (!find(log, tenant_id, id))
		return false;
	slot_getsomeattrs(log->slot, LOG_COLUMNS);
	for (i = 0; i < EVENT_NCOLUMNS; i++)
	{
		values[i] = log->slot->tts_values[columns[i]];
		nulls[i] = log->slot->tts_isnull[columns[i]];
	}
	*accepted_at = event_make_message(values, nulls, message);
	ExecClearTuple(log->slot);
	return true;
}

/* A row that was updated has an entry for each version. */
static bool
find(LogReader *log, const text *tenant_id, const pg_uuid_t *id)
{
	if (!pass_to(log, tenant_id, id))
		seek(log, tenant_id, id);
	for (; log->more && compare_ids(&log->at, id) == 0; step(log))
	{
		if (index_fetch_heap(log->scan, log->slot))
			return true;
	}
	return false;
}

/* Returns false if the scan must begin again. */
static bool
pass_to(LogReader *log, const text *tenant_id, const pg_uuid_t *id)
{
	int steps;

	if (log->tenant_id == NULL || !log->more || log->sparse ||
		address_compare(log->tenant_id, tenant_id) != 0 ||
		compare_ids(&log->at, id) > 0)
		return false;
	for (steps = 0; log->more && compare_ids(&log->at, id) < 0; steps++)
	{
		if (steps == MOST_STEPS)
		{
			log->sparse = true;
			return false;
		}
		step(log);
	}
	return true;
}

/*
 * A scan reads all entries of a page that may follow. If they are not needed,
 * it asks for the one.
 */
static void
seek(LogReader *log, const text *tenant_id, const pg_uuid_t *id)
{
	ScanKeyData keys[KEY_COLUMNS];

	/* The column has the collation C, as ScanKeyInit() assumes. */
	ScanKeyInit(&keys[0],
				1,
				BTEqualStrategyNumber,
				F_TEXTEQ,
				PointerGetDatum(tenant_id));
	if (log->sparse)
		ScanKeyInit(&keys[1],
					KEY_ID,
					BTEqualStrategyNumber,
					F_UUID_EQ,
					UUIDPGetDatum(id));
	else
		ScanKeyInit(&keys[1],
					KEY_ID,
					BTGreaterEqualStrategyNumber,
					F_UUID_GE,
					UUIDPGetDatum(id));
	index_rescan(log->scan, keys, KEY_COLUMNS, NULL, 0);
	log->tenant_id = tenant_id;
	step(log);
}

static void
step(LogReader *log)
{
	bool isnull;
	Datum id;

	log->more = index_getnext_tid(log->scan, ForwardScanDirection) != NULL;
	if (!log->more)
		return;
	id = index_getattr(log->scan->xs_itup,
					   KEY_ID,
					   log->scan->xs_itupdesc,
					   &isnull);
	log->at = *DatumGetUUIDP(id);
}

static int
compare_ids(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a, b, sizeof(pg_uuid_t));
}

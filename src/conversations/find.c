/*
 * conversations/find.c: finds the conversations of messages.
 *
 * Nothing may be added to a conversation that another session removes, or whose
 * messages it counts. So those who do that lock its row and then wait for those
 * who may have found it before: see _hold_conversations(). A session that adds
 * messages has two ways to take part.
 *
 * It can lock the row for key share. That excludes nobody else who adds
 * messages, but writes to the row. send() and complete() do it.
 *
 * Workers find many conversations in little time, so they write nothing. They
 * announce the lanes of their conversations by shared locks, and then look at
 * the rows. A row that nobody has locked is safe: who locks it later waits for
 * the lanes' locks. A row that seems locked is locked for key share as well,
 * without waiting: who holds it may be waiting for the lanes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "conversations/places.h"
#include "conversations/touch.h"
#include "server/statement.h"
#include "server/tables.h"
#include "server/versions.h"
#include "wake/lanes.h"

/* The columns that are read of conversation_rows. */
#define ROW_ID 2

#define LOCK_CONVERSATIONS(wait)                                               \
	"SELECT n.ordinal, c.id"                                                   \
	" FROM unnest($1, $2) WITH ORDINALITY AS n (tenant_id, key, ordinal)"      \
	" JOIN msgstore.conversation_rows AS c"                                    \
	" ON c.tenant_id = n.tenant_id AND c.key = n.key"                          \
	" ORDER BY n.ordinal FOR KEY SHARE OF c" wait

/* Lock the rows in the order of the touches. */
static Statement lock_waiting = {.sql = LOCK_CONVERSATIONS(""),
								 .nargs = 2,
								 .argtypes = {TEXTARRAYOID, TEXTARRAYOID},
								 .table = "conversation_rows"};
static Statement lock_at_once = {.sql = LOCK_CONVERSATIONS(" NOWAIT"),
								 .nargs = 2,
								 .argtypes = {TEXTARRAYOID, TEXTARRAYOID},
								 .table = "conversation_rows"};

static Statement find_message = {
	.sql = "SELECT FROM msgstore.messages m"
		   " WHERE m.tenant_id = $1 AND m.conversation_id = $2 LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, UUIDOID},
	.table = "messages",
	.read_only = true};

static Statement count_inbound = {
	.sql = "SELECT c.inbound_count FROM msgstore.conversations c"
		   " WHERE c.tenant_id = $1 AND c.id = $2",
	.nargs = 2,
	.argtypes = {TEXTOID, UUIDOID},
	.table = "conversation_rows",
	.read_only = true};

static int take_array(ArrayType *array, Datum **elements);
static void lock(Touch **touches, int n, bool wait);
static int look_up(Touch *touches, int n, Touch **doubtful);
static bool probe(Touch *touch,
				  const Places *places,
				  IndexScanDesc scan,
				  TupleTableSlot *slot);
static bool search(Touch *touch, IndexScanDesc scan, TupleTableSlot *slot);
static bool is_free(TupleTableSlot *slot);

PG_FUNCTION_INFO_V1(msgstore_wait_for_adders);
PG_FUNCTION_INFO_V1(msgstore_is_empty_now);
PG_FUNCTION_INFO_V1(msgstore_inbound_now);

/*
 * Waits for the transactions that may have found one of these conversations
 * before its row was locked.
 */
Datum
msgstore_wait_for_adders(PG_FUNCTION_ARGS)
{
	Datum *tenants;
	Datum *keys;
	uint64 lanes = 0;
	int n = take_array(PG_GETARG_ARRAYTYPE_P(0), &tenants);
	int nkeys = take_array(PG_GETARG_ARRAYTYPE_P(1), &keys);
	int i;

	for (i = 0; i < Min(n, nkeys); i++)
		lanes |= UINT64CONST(1)
				 << lanes_of_conversation(DatumGetTextPP(tenants[i]),
										  DatumGetTextPP(keys[i]));
	lanes_wait_for_use(lanes);
	PG_RETURN_VOID();
}

/*
 * _is_empty_now(tenant_id, conversation_id): a transaction-wide snapshot may be
 * older than the lock of the conversation.
 */
Datum
msgstore_is_empty_now(PG_FUNCTION_ARGS)
{
	Datum values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool is_empty;

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	statement_execute(&find_message, values, NULL);
	is_empty = SPI_processed == 0;
	PopActiveSnapshot();
	SPI_finish();
	PG_RETURN_BOOL(is_empty);
}

/* _inbound_now(tenant_id, conversation_id): as _is_empty_now() */
Datum
msgstore_inbound_now(PG_FUNCTION_ARGS)
{
	Datum values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool isnull = true;
	Datum count = (Datum) 0;

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	statement_execute(&count_inbound, values, NULL);
	if (SPI_processed == 1)
		count = statement_value(0, 1, &isnull);
	PopActiveSnapshot();
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(count);
}

static int
take_array(ArrayType *array, Datum **elements)
{
	int n;

	deconstruct_array(array,
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  elements,
					  NULL,
					  &n);
	return n;
}

/* A row that a transaction-wide snapshot shows may have been removed since. */
void
conversations_find(Touch *touches, int n, bool wait)
{
	Touch **doubtful = palloc(sizeof(Touch *) * n);
	int ndoubtful = 0;
	int i;

	if (!wait && !IsolationUsesXactSnapshot())
		ndoubtful = look_up(touches, n, doubtful);
	else
	{
		for (i = 0; i < n; i++)
			doubtful[ndoubtful++] = &touches[i];
	}
	if (ndoubtful > 0)
		lock(doubtful, ndoubtful, wait);
}

static void
lock(Touch **touches, int n, bool wait)
{
	Datum *columns = palloc(sizeof(Datum) * n * 2);
	Datum values[2];
	bool isnull;
	uint64 row;
	int i;

	for (i = 0; i < n; i++)
	{
		const ConversationMessage *sample = touches[i]->sample;

		columns[i] = PointerGetDatum(sample->tenant_id);
		columns[n + i] = PointerGetDatum(sample->conversation_key);
	}
	for (i = 0; i < 2; i++)
		values[i] = statement_array(TEXTOID, columns + i * n, NULL, n);
	statement_execute(wait ? &lock_waiting : &lock_at_once, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		i = (int) DatumGetInt64(statement_value(row, 1, &isnull)) - 1;
		touches[i]->id = *DatumGetUUIDP(statement_value(row, 2, &isnull));
		touches[i]->is_known = true;
	}
}

/* Returns the number of those that must be locked. */
static int
look_up(Touch *touches, int n, Touch **doubtful)
{
	Relation table = tables_open("conversation_rows", AccessShareLock);
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	uint64 lanes = 0;
	Places places;
	int ndoubtful = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		touches[i].hash = lanes_hash(touches[i].sample->tenant_id,
									 touches[i].sample->conversation_key);
		lanes |= UINT64CONST(1) << touches[i].hash % LANES;
	}
	lanes_use(lanes);
	index = tables_open_index(table, "conversation_rows_key_key");
	if (index == NULL)
	{
		table_close(table, NoLock);
		for (i = 0; i < n; i++)
			doubtful[i] = &touches[i];
		return n;
	}
	/* After the lanes: who had a row locked before has committed. */
	PushActiveSnapshot(GetTransactionSnapshot());
	places_open(&places, table, GetActiveSnapshot());
	slot = table_slot_create(table, NULL);
	scan = index_beginscan(table, index, GetActiveSnapshot(), NULL, 2, 0, 0);
	for (i = 0; i < n; i++)
	{
		if (!probe(&touches[i], &places, scan, slot))
			doubtful[ndoubtful++] = &touches[i];
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	PopActiveSnapshot();
	index_close(index, NoLock);
	table_close(table, NoLock);
	return ndoubtful;
}

/* Returns false if the row exists but must be locked. */
static bool
probe(Touch *touch,
	  const Places *places,
	  IndexScanDesc scan,
	  TupleTableSlot *slot)
{
	bool isnull;

	if (!places_fetch(places, touch->hash, touch->sample, slot))
	{
		if (!search(touch, scan, slot))
			return true;
		places_note(touch->hash, slot);
	}
	if (!is_free(slot))
		return false;
	touch->id = *DatumGetUUIDP(slot_getattr(slot, ROW_ID, &isnull));
	touch->is_known = true;
	return true;
}

static bool
search(Touch *touch, IndexScanDesc scan, TupleTableSlot *slot)
{
	ScanKeyData keys[2];

	/* Both columns have the collation C, as ScanKeyInit() assumes. */
	ScanKeyInit(&keys[0],
				1,
				BTEqualStrategyNumber,
				F_TEXTEQ,
				PointerGetDatum(touch->sample->tenant_id));
	ScanKeyInit(&keys[1],
				2,
				BTEqualStrategyNumber,
				F_TEXTEQ,
				PointerGetDatum(touch->sample->conversation_key));
	index_rescan(scan, keys, 2, NULL, 0);
	return index_getnext_slot(scan, ForwardScanDirection, slot);
}

/* Whether at most key share locks are on the row. */
static bool
is_free(TupleTableSlot *slot)
{
	uint16 mask;

	if (!TTS_IS_BUFFERTUPLE(slot))
		return false;
	mask = ((HeapTupleTableSlot *) slot)->tuple->t_data->t_infomask;
	return (mask & HEAP_XMAX_INVALID) != 0 ||
		   ((mask & HEAP_XMAX_IS_MULTI) == 0 &&
			HEAP_XMAX_IS_KEYSHR_LOCKED(mask));
}

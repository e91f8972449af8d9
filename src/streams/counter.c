/*
 * streams/counter.c: the sequence that positions are drawn from, compared with
 * the log.
 *
 * A position occurs once. The sequence alone cannot promise that: the log may
 * have come from elsewhere without it (logical replication, a restore of the
 * table), or somebody has set it back. So the first draw of a session for a
 * tenant, and a draw that is not above the session's last one, compare it with
 * the tenant's last event. The unique index on tenant and position refuses what
 * this misses. A session that was refused compares again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "server/locks.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/tables.h"
#include "server/versions.h"
#include "streams/counter.h"

/* Up to so many positions are skipped one by one. */
#define SMALL_GAP 10000

/*
 * Otherwise the sequence is set to so many positions after the log. Between the
 * comparison and the setting, other tenants' sessions may draw positions, but
 * not this many, so the sequence is not set back.
 */
#define LARGE_GAP 1000000

/* A session forgets which tenants it has compared when there are this many. */
#define MOST_TENANTS 1000

static Statement find_last = {
	.sql = "SELECT global_position FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND global_position > $2"
		   " ORDER BY global_position DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "stream_events"};

/* Tenants, by a hash, whose last event the counter was compared with. */
static HTAB *compared = NULL;

static int64 last_drawn = 0; /* by this session */

static Oid sequence_id(void);
static void pass_log(uint64 tenant);
static void skip_to(int64 position);
static int64 last_by_statement(int64 after);

int64
counter_draw(uint64 tenant)
{
	int64 position;

	if (compared == NULL ||
		hash_search(compared, &tenant, HASH_FIND, NULL) == NULL)
		pass_log(tenant);
	position = nextval_internal(sequence_id(), false);
	if (position <= last_drawn && counter_end_of_log(position - 1) != 0)
	{
		pass_log(tenant);
		position = nextval_internal(sequence_id(), false);
	}
	last_drawn = position;
	return position;
}

void
counter_compare_again(void)
{
	if (compared != NULL)
		hash_destroy(compared);
	compared = NULL;
}

int64
counter_last_value(void)
{
	LOCAL_FCINFO(call, 1);
	Datum value;

	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(sequence_id());
	call->args[0].isnull = false;
	value = pg_sequence_last_value(call);
	return call->isnull ? 0 : DatumGetInt64(value);
}

/*
 * Without a statement, because each reader calls this. A scan compares all
 * entries of an index page with its keys. Usually there is nothing after the
 * position, so the first entry ends it.
 */
int64
counter_end_of_log(int64 after)
{
	Relation table = tables_open("stream_events", AccessShareLock);
	Relation index = tables_open_index(table, "stream_events_position_idx");
	int64 position = 0;

	if (index == NULL)
		position = last_by_statement(after);
	else
	{
		TupleTableSlot *slot = table_slot_create(table, NULL);
		Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
		IndexScanDesc scan;
		ScanKeyData keys[2];
		bool isnull;

		/* The tenant has the collation C, as ScanKeyInit() assumes. */
		ScanKeyInit(&keys[0],
					1,
					BTEqualStrategyNumber,
					F_TEXTEQ,
					CStringGetTextDatum(msgstore_tenant_id));
		ScanKeyInit(&keys[1],
					2,
					BTGreaterStrategyNumber,
					F_INT8GT,
					Int64GetDatum(after));
		scan = index_beginscan(table, index, snapshot, NULL, 2, 0, 0);
		index_rescan(scan, keys, 2, NULL, 0);
		if (index_getnext_slot(scan, BackwardScanDirection, slot))
			position = DatumGetInt64(slot_getattr(slot, 1, &isnull));
		index_endscan(scan);
		UnregisterSnapshot(snapshot);
		ExecDropSingleTupleTableSlot(slot);
		index_close(index, NoLock);
	}
	table_close(table, NoLock);
	return position;
}

static Oid
sequence_id(void)
{
	return get_relname_relid("stream_events_position_seq",
							 get_namespace_oid("msgstore", false));
}

/* Moves the counter to the tenant's last event if it is behind it. */
static void
pass_log(uint64 tenant)
{
	int64 last = counter_end_of_log(counter_last_value());

	if (last != 0)
		skip_to(last);
	if (compared != NULL && hash_get_num_entries(compared) >= MOST_TENANTS)
		counter_compare_again();
	if (compared == NULL)
	{
		HASHCTL info = {.keysize = sizeof(uint64),
						.entrysize = sizeof(uint64),
						.hcxt = TopMemoryContext};

		compared = hash_create("msgstore tenants with compared positions",
							   64,
							   &info,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(compared, &tenant, HASH_ENTER, NULL);
}

/* One session at a time: two would set the sequence back for each other. */
static void
skip_to(int64 position)
{
	LOCKTAG tag = locks_tag(LOCK_COUNTER, 0);
	int64 value;

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	value = counter_last_value();
	if (position > value)
		ereport(
			LOG,
			(errmsg("moving the counter of stream positions from %lld to %lld",
					(long long) value,
					(long long) position),
			 errdetail("There is an event at that position.")));
	if (position - value > SMALL_GAP)
		(void) DirectFunctionCall2(setval_oid,
								   ObjectIdGetDatum(sequence_id()),
								   Int64GetDatum(position + LARGE_GAP));
	else
	{
		while (value < position)
			value = nextval_internal(sequence_id(), false);
	}
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* For a table that somebody has partitioned or given other indexes. */
static int64
last_by_statement(int64 after)
{
	int64 position = 0;
	Datum values[2];
	bool isnull;

	SPI_connect();
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(after);
	statement_execute(&find_last, values, NULL);
	if (SPI_processed > 0)
		position = DatumGetInt64(statement_value(0, 1, &isnull));
	SPI_finish();
	return position;
}

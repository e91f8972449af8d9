/*
 * streams/insert.c: appends without a statement.
 *
 * A single append looks up the version by the primary key with a new snapshot,
 * draws the position, and inserts the event with row_insert.c, which waits for
 * a session that is inserting the same version. This reduced the CPU time of an
 * append from 51 to 26 microseconds. The events of a batch, whose versions and
 * positions batch.c has found, are inserted page by page.
 *
 * If row_insert.c refuses to open the table, streams.c and batch.c execute
 * their statements.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "server/row_insert.h"
#include "server/settings.h"
#include "server/versions.h"
#include "streams/streams.h"

/* The columns of stream_events, in the order of sql/50_streams/10_tables.sql.
 */
enum
{
	COLUMN_GLOBAL_POSITION,
	COLUMN_HORIZON,
	COLUMN_VERSION,
	COLUMN_CREATED_AT,
	COLUMN_EVENT_ID,
	COLUMN_TENANT_ID,
	COLUMN_STREAM,
	COLUMN_CATEGORY,
	COLUMN_TYPE,
	COLUMN_CREATED_BY,
	COLUMN_DATA,
	COLUMN_METADATA,
	COLUMN_HAPPENED_AT,
	COLUMN_TAGS,
	COLUMNS
};

static bool insert_into(RowTarget *target, StreamEvent *event);
static int64 last_version(Relation table,
						  Relation key,
						  Datum tenant,
						  const StreamEvent *event);
static bool is_tombstone(TupleTableSlot *slot);
static bool add_row(RowTarget *target, Datum tenant, StreamEvent *event);
static void read_row(const void *rows, int i, Datum *values, bool *nulls);

/* Events of a batch. */
typedef struct NewEvents
{
	Datum tenant;
	int64 horizon;
	StreamEvent *const *events;
} NewEvents;

bool
streams_insert(StreamEvent *event, bool *stored)
{
	RowTarget target;

	if (!row_target_open(&target, "stream_events", COLUMNS, true))
		return false;
	*stored = insert_into(&target, event);
	row_target_close(&target);
	return true;
}

/* False: the version or the event id is taken, or the version unexpected. */
static bool
insert_into(RowTarget *target, StreamEvent *event)
{
	Datum tenant = CStringGetTextDatum(msgstore_tenant_id);
	bool stored = false;
	int64 version;

	CommandCounterIncrement();
	target->estate->es_output_cid = GetCurrentCommandId(true);
	PushActiveSnapshot(GetTransactionSnapshot());
	version = last_version(target->table->ri_RelationDesc,
						   row_target_index(target, "stream_events_pkey"),
						   tenant,
						   event);
	if (version != PG_INT64_MAX &&
		(!event->has_expected || event->expected == version))
	{
		event->version = version + 1;
		event->position = streams_take_position(event->category, event->tags);
		stored = add_row(target, tenant, event);
	}
	PopActiveSnapshot();
	return stored;
}

/*
 * As STREAMS_LAST_VERSION; 0 when the stream has no events. A scan compares all
 * entries of an index page with its keys, so it looks for nothing before the
 * expected version, and takes a stream that has not reached it for empty.
 */
static int64
last_version(Relation table,
			 Relation key,
			 Datum tenant,
			 const StreamEvent *event)
{
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData keys[3];
	int nkeys = event->has_expected ? 3 : 2;
	IndexScanDesc scan;
	int64 version = 0;
	bool isnull;

	/* Both columns have the collation C, as ScanKeyInit() assumes. */
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, tenant);
	ScanKeyInit(&keys[1],
				2,
				BTEqualStrategyNumber,
				F_TEXTEQ,
				PointerGetDatum(event->stream));
	ScanKeyInit(&keys[2],
				3,
				BTGreaterEqualStrategyNumber,
				F_INT8GE,
				Int64GetDatum(event->expected));
	scan = index_beginscan(table, key, GetActiveSnapshot(), NULL, nkeys, 0, 0);
	index_rescan(scan, keys, nkeys, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
		version = is_tombstone(slot)
					  ? PG_INT64_MAX
					  : DatumGetInt64(
							slot_getattr(slot, COLUMN_VERSION + 1, &isnull));
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return version;
}

static bool
is_tombstone(TupleTableSlot *slot)
{
	static const char tombstone[] = STREAMS_TOMBSTONE;
	bool isnull;
	const text *type =
		DatumGetTextPP(slot_getattr(slot, COLUMN_TYPE + 1, &isnull));

	return VARSIZE_ANY_EXHDR(type) == sizeof(tombstone) - 1 &&
		   memcmp(VARDATA_ANY(type), tombstone, sizeof(tombstone) - 1) == 0;
}

static bool
add_row(RowTarget *target, Datum tenant, StreamEvent *event)
{
	NewEvents rows = {.tenant = tenant,
					  .horizon = streams_horizon(),
					  .events = &event};
	Datum values[COLUMNS];
	bool nulls[COLUMNS];
	List *indexes = list_make1_oid(
		RelationGetRelid(row_target_index(target, "stream_events_pkey")));

	/* A generated id is new, so only the version can conflict. */
	if (event->event_id != NULL)
		indexes = lappend_oid(
			indexes,
			RelationGetRelid(
				row_target_index(target, "stream_events_event_id_key")));
	read_row(&rows, 0, values, nulls);
	return row_insert_new(target, values, nulls, indexes);
}

bool
streams_insert_many(StreamEvent *const *events, int n)
{
	NewEvents rows = {.tenant = CStringGetTextDatum(msgstore_tenant_id),
					  .events = events};
	RowTarget target;

	if (!row_target_open(&target, "stream_events", COLUMNS, false))
		return false;
	rows.horizon = streams_horizon();
	row_insert_many(&target, read_row, &rows, n);
	row_target_close(&target);
	return true;
}

static void
read_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const NewEvents *given = rows;
	const StreamEvent *event = given->events[i];
	pg_uuid_t *id = event->event_id;

	if (id == NULL)
	{
		id = palloc(sizeof(pg_uuid_t));
		streams_make_event_id(event->position, id);
	}
	memset(nulls, 0, sizeof(bool) * COLUMNS);
	values[COLUMN_GLOBAL_POSITION] = Int64GetDatum(event->position);
	values[COLUMN_HORIZON] = Int64GetDatum(given->horizon);
	values[COLUMN_VERSION] = Int64GetDatum(event->version);
	values[COLUMN_CREATED_AT] = TimestampTzGetDatum(event->created_at);
	values[COLUMN_EVENT_ID] = UUIDPGetDatum(id);
	values[COLUMN_TENANT_ID] = given->tenant;
	values[COLUMN_STREAM] = PointerGetDatum(event->stream);
	values[COLUMN_CATEGORY] = PointerGetDatum(event->category);
	values[COLUMN_TYPE] = PointerGetDatum(event->type);
	values[COLUMN_CREATED_BY] = PointerGetDatum(event->created_by);
	values[COLUMN_DATA] = PointerGetDatum(event->data);
	values[COLUMN_METADATA] = PointerGetDatum(event->metadata);
	nulls[COLUMN_CREATED_BY] = event->created_by == NULL;
	nulls[COLUMN_DATA] = event->data == NULL;
	nulls[COLUMN_METADATA] = event->metadata == NULL;
	values[COLUMN_HAPPENED_AT] = TimestampTzGetDatum(event->happened_at);
	nulls[COLUMN_HAPPENED_AT] = !event->has_happened;
	values[COLUMN_TAGS] = PointerGetDatum(event->tags);
	nulls[COLUMN_TAGS] = event->tags == NULL;
}

/*
 * live/changes.c: records what a transaction has changed, for live readers.
 *
 * A row has the ids of all changes of one kind that a transaction made for a
 * tenant, so a batch of the worker adds one row for each tenant. The table is
 * unlogged: rows cost no WAL, and a crash of the server may lose them, which
 * readers are told. Each row has the transaction id, by which readers find what
 * their last snapshot did not show: see sql/82_live.sql.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "inbox/uuid7.h"
#include "live/live.h"
#include "server/row_statement.h"
#include "server/settings.h"
#include "server/statement.h"

/* So many ids fit into a row that fits into a page. */
#define IDS_PER_ROW 400

#define PURGE_EVERY_MS 60000

/* The columns of live_changes. */
enum
{
	TENANT_ID,
	XID,
	ID,
	KIND,
	IDS,
	COLUMNS
};

typedef struct LiveRow
{
	const text *tenant_id;
	pg_uuid_t id;
	const text *kind;
	bytea *ids;
} LiveRow;

static Statement purge = {.sql = "SELECT msgstore._purge_live()"};

static int compare_tenants(const void *a, const void *b);
static int fill_row(const LiveChange *changes, int n, LiveRow *row);
static void read_row(const void *rows, int i, Datum *values, bool *nulls);

PG_FUNCTION_INFO_V1(msgstore_note_changes);
PG_FUNCTION_INFO_V1(msgstore_live_ids);

/* _note_changes(kind, tenant_ids, ids) */
Datum
msgstore_note_changes(PG_FUNCTION_ARGS)
{
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	LiveChange *changes;
	Datum *tenants;
	Datum *ids;
	int n;
	int nids;
	int i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &tenants,
					  NULL,
					  &n);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2),
					  UUIDOID,
					  UUID_LEN,
					  false,
					  TYPALIGN_CHAR,
					  &ids,
					  NULL,
					  &nids);
	if (n != nids)
		elog(ERROR, "%d tenants for %d changes", n, nids);
	changes = palloc(sizeof(LiveChange) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		changes[i].tenant_id = DatumGetTextPP(tenants[i]);
		changes[i].id = *DatumGetUUIDP(ids[i]);
	}
	SPI_connect();
	live_put(kind, changes, n);
	SPI_finish();
	PG_RETURN_VOID();
}

/* _live_ids(ids) */
Datum
msgstore_live_ids(PG_FUNCTION_ARGS)
{
	bytea *ids = PG_GETARG_BYTEA_PP(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *bytes = VARDATA_ANY(ids);
	int n = VARSIZE_ANY_EXHDR(ids) / UUID_LEN;
	int i;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (i = 0; i < n; i++)
	{
		Datum value = UUIDPGetDatum((pg_uuid_t *) (bytes + i * UUID_LEN));
		bool isnull = false;

		tuplestore_putvalues(result->setResult,
							 result->setDesc,
							 &value,
							 &isnull);
	}
	return (Datum) 0;
}

void
live_put(const char *kind, LiveChange *changes, int n)
{
	LiveRow *rows;
	int nrows = 0;
	int done = 0;

	if (n == 0 || msgstore_live_history == 0)
		return;
	qsort(changes, n, sizeof(LiveChange), compare_tenants);
	rows = palloc(sizeof(LiveRow) * n);
	while (done < n)
	{
		rows[nrows].kind = cstring_to_text(kind);
		done += fill_row(changes + done, n - done, &rows[nrows++]);
	}
	row_insert_any("live_changes", COLUMNS, read_row, rows, nrows);
	live_wake_at_commit();
}

void
live_purge(void)
{
	static TimestampTz next = DT_NOBEGIN;
	TimestampTz now = GetCurrentTimestamp();

	if (now < next)
		return;
	next = TimestampTzPlusMilliseconds(now, PURGE_EVERY_MS);
	statement_execute(&purge, NULL, NULL);
}

static int
compare_tenants(const void *a, const void *b)
{
	return address_compare(((const LiveChange *) a)->tenant_id,
						   ((const LiveChange *) b)->tenant_id);
}

/* Returns the number of changes that are in the row: all are of one tenant. */
static int
fill_row(const LiveChange *changes, int n, LiveRow *row)
{
	int most = Min(n, IDS_PER_ROW);
	int size = 1;
	int i;

	while (size < most && compare_tenants(&changes[size], &changes[0]) == 0)
		size++;
	row->tenant_id = changes[0].tenant_id;
	inbox_make_uuid7(&row->id);
	row->ids = palloc(VARHDRSZ + size * UUID_LEN);
	SET_VARSIZE(row->ids, VARHDRSZ + size * UUID_LEN);
	for (i = 0; i < size; i++)
		memcpy(VARDATA(row->ids) + i * UUID_LEN, &changes[i].id, UUID_LEN);
	return size;
}

static void
read_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const LiveRow *row = (const LiveRow *) rows + i;

	memset(nulls, false, sizeof(bool) * COLUMNS);
	values[TENANT_ID] = PointerGetDatum(row->tenant_id);
	values[XID] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[ID] = UUIDPGetDatum(&row->id);
	values[KIND] = PointerGetDatum(row->kind);
	values[IDS] = PointerGetDatum(row->ids);
}

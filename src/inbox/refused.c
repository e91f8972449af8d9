/*
 * inbox/refused.c: keeps refused items, so that they can be submitted again.
 *
 * A refusal is usually final for a provider: it does not send the event again.
 * If the fault is ours, such as a missing channel, the event would be lost.
 * Only ingest_batch() can keep what it refuses, because it commits; ingest()
 * raises an error, which undoes everything.
 *
 * The table holds at most msgstore.max_refused rows of a tenant: each call
 * deletes the oldest beyond that. A tenant never deletes rows of another one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "inbox/payload.h"
#include "inbox/refused.h"
#include "inbox/uuid7.h"
#include "server/settings.h"
#include "server/statement.h"
#include "tenancy/placement.h"

/* Longer texts are cut. A longer idempotency key is refused, so it is not kept.
 */
#define MAX_TEXT_BYTES 255

#define COLUMNS 10

static Statement store_refused = {
	.sql = "INSERT INTO msgstore.refused_events (tenant_id, id, channel,"
		   " error_code, error_message, error_detail, payload, payload_bytes,"
		   " idempotency_key, correlation_id, mock)"
		   " SELECT $1, n.*"
		   " FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10, $11) AS n",
	.nargs = 1 + COLUMNS,
	.argtypes = {TEXTOID,
				 UUIDARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 JSONBARRAYOID,
				 INT8ARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 BOOLARRAYOID}};

/* Another session may be deleting the same rows, or submitting one again. */
static Statement remove_oldest = {
	.sql = "DELETE FROM msgstore.refused_events r"
		   " USING (SELECT o.id FROM msgstore.refused_events o"
		   "  WHERE o.tenant_id = $1 AND o.id <= ("
		   "   SELECT c.id FROM msgstore.refused_events c"
		   "   WHERE c.tenant_id = $1"
		   "   ORDER BY c.tenant_id DESC, c.id DESC OFFSET $2 LIMIT 1)"
		   "  FOR UPDATE SKIP LOCKED) old"
		   " WHERE r.tenant_id = $1 AND r.id = old.id",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "refused_events"};

static void store_items(InboxItem **items, int n);
static void
put_item(InboxItem *item, Datum *columns, bool *nulls, int i, int n);
static void put_text(const char *s, Datum *columns, bool *nulls, int place);

void
inbox_keep_refused(InboxItem *items, int n)
{
	InboxItem **refused;
	Datum values[2];
	int nrefused = 0;
	int i;

	/* Rows of an unknown tenant may belong elsewhere: see tenants.c. */
	if (!msgstore_keep_refused || placement_is_elsewhere(msgstore_tenant_id))
		return;
	refused = palloc(sizeof(InboxItem *) * Max(n, 1));
	for (i = 0; i < n; i++)
	{
		if (items[i].refusal != NULL)
			refused[nrefused++] = &items[i];
	}
	if (nrefused == 0)
		return;
	SPI_connect();
	store_items(refused, nrefused);
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(msgstore_max_refused);
	statement_execute(&remove_oldest, values, NULL);
	SPI_finish();
}

static void
store_items(InboxItem **items, int n)
{
	static const Oid types[COLUMNS] = {UUIDOID,
									   TEXTOID,
									   TEXTOID,
									   TEXTOID,
									   TEXTOID,
									   JSONBOID,
									   INT8OID,
									   TEXTOID,
									   TEXTOID,
									   BOOLOID};
	Datum *columns = palloc0(sizeof(Datum) * n * COLUMNS);
	bool *nulls = palloc0(sizeof(bool) * n * COLUMNS);
	Datum values[1 + COLUMNS];
	int i;

	for (i = 0; i < n; i++)
		put_item(items[i], columns, nulls, i, n);
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	for (i = 0; i < COLUMNS; i++)
		values[1 + i] =
			statement_array(types[i], columns + i * n, nulls + i * n, n);
	statement_execute(&store_refused, values, NULL);
}

/*
 * The item may have been refused before its payload was redacted. A payload
 * that is too large is not kept.
 */
static void
put_item(InboxItem *item, Datum *columns, bool *nulls, int i, int n)
{
	Jsonb *payload = item->payload;
	bool has_secret;
	Size bytes = 0;

	columns[i] = UUIDPGetDatum(inbox_new_uuid7());
	put_text(item->channel, columns, nulls, n + i);
	columns[2 * n + i] =
		CStringGetTextDatum(unpack_sql_state(item->refusal->sqlstate));
	columns[3 * n + i] = CStringGetTextDatum(item->refusal->message);
	nulls[4 * n + i] = item->refusal->detail == NULL;
	if (item->refusal->detail != NULL)
		columns[4 * n + i] = CStringGetTextDatum(item->refusal->detail);
	if (payload != NULL)
	{
		bytes = inbox_measure_payload(payload, &has_secret);
		if (bytes > (Size) msgstore_max_payload_bytes)
			payload = NULL;
		else if (has_secret)
			payload = inbox_redact_payload(payload);
	}
	nulls[5 * n + i] = payload == NULL;
	if (payload != NULL)
		columns[5 * n + i] = JsonbPGetDatum(payload);
	columns[6 * n + i] = Int64GetDatum((int64) bytes);
	put_text(item->idempotency_key, columns, nulls, 7 * n + i);
	if (!nulls[7 * n + i])
		nulls[7 * n + i] = strlen(item->idempotency_key) > MAX_TEXT_BYTES;
	put_text(item->correlation_id, columns, nulls, 8 * n + i);
	columns[9 * n + i] = BoolGetDatum(item->mock);
}

static void
put_text(const char *s, Datum *columns, bool *nulls, int place)
{
	int length;

	nulls[place] = s == NULL;
	if (s == NULL)
		return;
	length = strlen(s);
	if (length > MAX_TEXT_BYTES)
		length = pg_mbcliplen(s, length, MAX_TEXT_BYTES);
	columns[place] = PointerGetDatum(cstring_to_text_with_len(s, length));
}

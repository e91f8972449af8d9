/*
 * inbox/conflicts.c: records that a provider sent different content under the
 * id of a stored event.
 *
 * The stored event stays as it is, because a message was made from it. But the
 * difference must not get lost: it is counted, logged and kept in id_conflicts,
 * one row for each event however often it is sent. Neither the log nor the
 * table has any content, only digests.
 *
 * Payloads are compared as jsonb compares them (1 equals 1.0), after redaction
 * and without the channel's volatile fields. A new event costs nothing of this.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "channels/channels.h"
#include "inbox/conflicts.h"
#include "inbox/payload.h"
#include "server/settings.h"
#include "server/statement.h"
#include "stats/stats.h"

/*
 * An event that is being deleted has no conflicts any more, so its row is
 * skipped, and the others are locked against it until the commit. The rows
 * come in the order of their ids, so that two batches do not deadlock.
 */
static Statement record_conflicts = {
	.sql = "WITH kept AS MATERIALIZED ("
		   "SELECT l.id FROM unnest($2) AS n (id)"
		   " JOIN msgstore.event_log l ON l.tenant_id = $1 AND l.id = n.id"
		   " FOR KEY SHARE OF l SKIP LOCKED)"
		   " INSERT INTO msgstore.id_conflicts AS c (tenant_id, event_id,"
		   " stored_digest, received_digest, conflict_count)"
		   " SELECT $1, n.* FROM unnest($2, $3, $4, $5)"
		   " AS n (id, stored, received, conflicts)"
		   " WHERE n.id = ANY (ARRAY(SELECT id FROM kept))"
		   " ON CONFLICT (tenant_id, event_id) DO UPDATE"
		   " SET stored_digest = excluded.stored_digest,"
		   " received_digest = excluded.received_digest,"
		   " conflict_count = c.conflict_count + excluded.conflict_count,"
		   " last_seen_at = greatest(c.last_seen_at, excluded.last_seen_at)",
	.nargs = 5,
	.argtypes =
		{TEXTOID, UUIDARRAYOID, BYTEAARRAYOID, BYTEAARRAYOID, INT8ARRAYOID},
	.table = "event_log"};

struct InboxConflict
{
	bytea *stored; /* SHA-256 digests of the payloads' text */
	bytea *received;
};

static bool differs(const InboxItem *item, Jsonb *stored);
static Jsonb *remove_fields(Jsonb *payload, const Channel *channel);
static Jsonb *remove_arrival(Jsonb *payload);
static bytea *digest(Jsonb *payload);
static char *to_hex(bytea *bytes);
static int compare_ids(const void *a, const void *b);
static void log_conflict(const InboxItem *item);
static void store_conflicts(InboxItem **items, int n);

void
inbox_compare_payload(InboxItem *item, Jsonb *stored)
{
	/* The payload of an old event may have been emptied by a purge. */
	if (JB_ROOT_COUNT(stored) == 0 || !differs(item, stored))
		return;
	item->conflict = palloc(sizeof(InboxConflict));
	item->conflict->stored = digest(stored);
	item->conflict->received = digest(item->payload);
}

void
inbox_record_conflicts(InboxItem *items, int n)
{
	InboxItem **found = palloc(sizeof(InboxItem *) * Max(n, 1));
	int nfound = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (items[i].conflict != NULL)
			found[nfound++] = &items[i];
	}
	if (nfound == 0)
		return;
	for (i = 0; i < nfound; i++)
		log_conflict(found[i]);
	stats_count(STATS_EVENTS_CONFLICTING, nfound);
	qsort(found, nfound, sizeof(InboxItem *), compare_ids);
	store_conflicts(found, nfound);
}

/*
 * The keys to redact may have been others when the event was stored, so its
 * payload is redacted again before it counts as different.
 */
static bool
differs(const InboxItem *item, Jsonb *stored)
{
	const Channel *channel;
	Jsonb *received = item->payload;

	if (compareJsonbContainers(&received->root, &stored->root) == 0)
		return false;
	channel = channels_get(item->channel, strlen(item->channel));
	received = remove_arrival(remove_fields(received, channel));
	stored =
		remove_arrival(remove_fields(inbox_redact_payload(stored), channel));
	return compareJsonbContainers(&received->root, &stored->root) != 0;
}

static Jsonb *
remove_fields(Jsonb *payload, const Channel *channel)
{
	Datum *fields = palloc(sizeof(Datum) * channel->nvolatile_fields);
	int i;

	if (channel->nvolatile_fields == 0)
		return payload;
	for (i = 0; i < channel->nvolatile_fields; i++)
		fields[i] = CStringGetTextDatum(channel->volatile_fields[i]);
	return DatumGetJsonbP(DirectFunctionCall2(
		jsonb_delete_array,
		JsonbPGetDatum(payload),
		statement_array(TEXTOID, fields, NULL, channel->nvolatile_fields)));
}

/*
 * A provider that sends no timestamp delivers the same content at another time
 * when it delivers again. The payload then says where its timestamp is from.
 */
static Jsonb *
remove_arrival(Jsonb *payload)
{
	JsonbValue from;

	if (!inbox_find_field(payload, "timestamp_from", &from))
		return payload;
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_delete,
							JsonbPGetDatum(payload),
							CStringGetTextDatum("timestamp")));
}

/* Of the text, so that a user can compute it from the stored payload. */
static bytea *
digest(Jsonb *payload)
{
	char *json = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	Datum bytes = PointerGetDatum(cstring_to_text(json));

	return DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, bytes));
}

static char *
to_hex(bytea *bytes)
{
	return text_to_cstring(
		DatumGetTextPP(DirectFunctionCall2(binary_encode,
										   PointerGetDatum(bytes),
										   CStringGetTextDatum("hex"))));
}

/* By event, then by position in the call. */
static int
compare_ids(const void *a, const void *b)
{
	const InboxItem *left = *(InboxItem *const *) a;
	const InboxItem *right = *(InboxItem *const *) b;
	int order = memcmp(&left->id, &right->id, sizeof(pg_uuid_t));

	return order != 0 ? order : left->ordinal - right->ordinal;
}

/* Without the statement, which may have the content. */
static void
log_conflict(const InboxItem *item)
{
	ereport(
		LOG,
		(errmsg(
			 "event \"%s\" on channel \"%s\" was received again with different content",
			 DatumGetCString(
				 DirectFunctionCall1(uuid_out, UUIDPGetDatum(&item->id))),
			 item->channel),
		 errdetail("SHA-256 of the stored payload: %s; of the received: %s.",
				   to_hex(item->conflict->stored),
				   to_hex(item->conflict->received)),
		 errhidestmt(true),
		 errhidecontext(true)));
}

/* One row for each event, with its last conflict. */
static void
store_conflicts(InboxItem **items, int n)
{
	Datum *ids = palloc(sizeof(Datum) * n);
	Datum *stored = palloc(sizeof(Datum) * n);
	Datum *received = palloc(sizeof(Datum) * n);
	Datum *counts = palloc(sizeof(Datum) * n);
	Datum values[5];
	int64 conflicts = 0;
	int rows = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		conflicts++;
		if (i + 1 < n &&
			memcmp(&items[i]->id, &items[i + 1]->id, sizeof(pg_uuid_t)) == 0)
			continue;
		ids[rows] = UUIDPGetDatum(&items[i]->id);
		stored[rows] = PointerGetDatum(items[i]->conflict->stored);
		received[rows] = PointerGetDatum(items[i]->conflict->received);
		counts[rows++] = Int64GetDatum(conflicts);
		conflicts = 0;
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = statement_array(UUIDOID, ids, NULL, rows);
	values[2] = statement_array(BYTEAOID, stored, NULL, rows);
	values[3] = statement_array(BYTEAOID, received, NULL, rows);
	values[4] = statement_array(INT8OID, counts, NULL, rows);
	statement_execute(&record_conflicts, values, NULL);
}

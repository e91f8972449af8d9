/*
 * conversations/changes.c: adds the changes of conversations that are not
 * merged yet, and reads their rows.
 *
 * A row has the changes of many conversations in one value, so that a batch
 * adds a few rows, whatever the number of its conversations.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "address/address.h"
#include "conversations/changes.h"
#include "conversations/merge.h"
#include "conversations/touch.h"
#include "inbox/uuid7.h"
#include "server/row_statement.h"

/* The columns of conversation_changes. */
enum
{
	TENANT_ID,
	ID,
	CHANGES,
	COLUMNS
};

typedef struct ChangeRow
{
	const text *tenant_id;
	pg_uuid_t id;
	bytea *changes;
} ChangeRow;

static const Touch *split_large(const Touch *touches, int *n);
static int fill_row(const Touch *touches, int n, ChangeRow *row);
static void read_row(const void *rows, int i, Datum *values, bool *nulls);

PG_FUNCTION_INFO_V1(msgstore_read_changes);

/* _read_changes(changes) */
Datum
msgstore_read_changes(PG_FUNCTION_ARGS)
{
	bytea *changes = PG_GETARG_BYTEA_PP(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *bytes = VARDATA_ANY(changes);
	int n = VARSIZE_ANY_EXHDR(changes) / CHANGE_BYTES;
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < n; i++)
	{
		bool nulls[4] = {false};
		Datum values[4];
		Change change;

		change_read(bytes + i * CHANGE_BYTES, &change);
		values[0] = UUIDPGetDatum(&change.conversation_id);
		values[1] = Int32GetDatum(change.message_count);
		values[2] = Int32GetDatum(change.inbound_count);
		values[3] = TimestampTzGetDatum(change.last_activity_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
conversations_put_changes(const Touch *touches, int n)
{
	ChangeRow *rows;
	int nrows = 0;
	int done = 0;

	touches = split_large(touches, &n);
	rows = palloc(sizeof(ChangeRow) * n);
	while (done < n)
		done += fill_row(touches + done, n - done, &rows[nrows++]);
	row_insert_any("conversation_changes", COLUMNS, read_row, rows, nrows);
	merge_note_changes(n, nrows);
}

/* Returns touches that have at most as many messages as fit into a change. */
static const Touch *
split_large(const Touch *touches, int *n)
{
	Touch *parts;
	int nparts = 0;
	int i;

	for (i = 0; i < *n; i++)
		nparts += (touches[i].message_count - 1) / CHANGE_MOST_MESSAGES + 1;
	if (nparts == *n)
		return touches;
	parts = palloc(sizeof(Touch) * nparts);
	for (i = 0, nparts = 0; i < *n; i++)
	{
		Touch rest = touches[i];

		while (rest.message_count > 0)
		{
			Touch *part = &parts[nparts++];

			*part = rest;
			part->message_count = Min(rest.message_count, CHANGE_MOST_MESSAGES);
			part->inbound_count = Min(rest.inbound_count, part->message_count);
			rest.message_count -= part->message_count;
			rest.inbound_count -= part->inbound_count;
		}
	}
	*n = nparts;
	return parts;
}

/* Returns the number of touches that are in the row: all are of one tenant. */
static int
fill_row(const Touch *touches, int n, ChangeRow *row)
{
	const text *tenant_id = touches[0].sample->tenant_id;
	int most = Min(n, CHANGES_PER_ROW);
	int size = 1;
	int i;

	while (size < most &&
		   address_compare(touches[size].sample->tenant_id, tenant_id) == 0)
		size++;
	row->tenant_id = tenant_id;
	inbox_make_uuid7(&row->id);
	row->changes = palloc(VARHDRSZ + size * CHANGE_BYTES);
	SET_VARSIZE(row->changes, VARHDRSZ + size * CHANGE_BYTES);
	for (i = 0; i < size; i++)
	{
		Change change = {.conversation_id = touches[i].id,
						 .message_count = touches[i].message_count,
						 .inbound_count = touches[i].inbound_count,
						 .last_activity_at = touches[i].last_activity_at};

		change_write(&change, VARDATA(row->changes) + i * CHANGE_BYTES);
	}
	return size;
}

static void
read_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const ChangeRow *row = (const ChangeRow *) rows + i;

	memset(nulls, false, sizeof(bool) * COLUMNS);
	values[TENANT_ID] = PointerGetDatum(row->tenant_id);
	values[ID] = UUIDPGetDatum(&row->id);
	values[CHANGES] = PointerGetDatum(row->changes);
}

void
change_write(const Change *change, char *bytes)
{
	uint16 counts[2] = {pg_hton16((uint16) change->message_count),
						pg_hton16((uint16) change->inbound_count)};
	uint64 at = pg_hton64((uint64) change->last_activity_at);

	memcpy(bytes, &change->conversation_id, UUID_LEN);
	memcpy(bytes + UUID_LEN, counts, sizeof(counts));
	memcpy(bytes + UUID_LEN + sizeof(counts), &at, sizeof(at));
}

void
change_read(const char *bytes, Change *change)
{
	uint16 counts[2];
	uint64 at;

	memcpy(&change->conversation_id, bytes, UUID_LEN);
	memcpy(counts, bytes + UUID_LEN, sizeof(counts));
	memcpy(&at, bytes + UUID_LEN + sizeof(counts), sizeof(at));
	change->message_count = pg_ntoh16(counts[0]);
	change->inbound_count = pg_ntoh16(counts[1]);
	change->last_activity_at = (TimestampTz) pg_ntoh64(at);
}

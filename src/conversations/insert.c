/*
 * conversations/insert.c: inserts messages.
 *
 * Messages are written page by page without a statement, see
 * server/row_insert.c. A statement takes them as arrays; building and
 * unnesting these took a tenth of a worker's time. It remains for tables that
 * somebody has altered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "conversations/insert.h"
#include "server/row_insert.h"
#include "server/statement.h"

/* The columns of messages, in the order of sql/30_conversations.sql. */
enum
{
	TENANT_ID,
	ID,
	CONVERSATION_ID,
	INBOUND_EVENT_ID,
	TIMESTAMP,
	CREATED_AT,
	DIRECTION,
	CHANNEL,
	CONVERSATION_KEY,
	FROM,
	TO,
	PROVIDER_MESSAGE_ID,
	CORRELATION_ID,
	BODY,
	ATTACHMENTS,
	FROM_GIVEN,
	TO_GIVEN,
	SUBJECT,
	COLUMNS
};

static const Oid types[] = {TEXTOID,
							UUIDOID,
							UUIDOID,
							UUIDOID,
							TIMESTAMPTZOID,
							TIMESTAMPTZOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							TEXTOID,
							JSONBOID,
							TEXTOID,
							TEXTOID,
							TEXTOID};

static Statement insert_messages = {
	.sql = "INSERT INTO msgstore.messages (tenant_id, id, conversation_id,"
		   " inbound_event_id, \"timestamp\", created_at, direction, channel,"
		   " conversation_key, \"from\", \"to\", provider_message_id,"
		   " correlation_id, body, attachments, from_given, to_given,"
		   " subject)"
		   " SELECT n.* FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
		   " $11, $12, $13, $14, $15, $16, $17, $18) AS n",
	.nargs = COLUMNS,
	.argtypes = {TEXTARRAYOID,
				 UUIDARRAYOID,
				 UUIDARRAYOID,
				 UUIDARRAYOID,
				 TIMESTAMPTZARRAYOID,
				 TIMESTAMPTZARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 JSONBARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID}};

static void read_row(const void *messages, int i, Datum *values, bool *nulls);
static void put(const void *value, int column, Datum *values, bool *nulls);
static void insert_by_statement(const ConversationMessage *messages, int n);

void
conversations_insert(const ConversationMessage *messages, int n)
{
	RowTarget target;

	if (!row_target_open(&target, "messages", COLUMNS, false))
	{
		insert_by_statement(messages, n);
		return;
	}
	row_insert_many(&target, read_row, messages, n);
	row_target_close(&target);
}

static void
read_row(const void *messages, int i, Datum *values, bool *nulls)
{
	const ConversationMessage *m = (const ConversationMessage *) messages + i;

	memset(nulls, false, sizeof(bool) * COLUMNS);
	values[TENANT_ID] = PointerGetDatum(m->tenant_id);
	values[ID] = UUIDPGetDatum(&m->id);
	values[CONVERSATION_ID] = UUIDPGetDatum(&m->conversation_id);
	put(m->inbound ? &m->id : NULL, INBOUND_EVENT_ID, values, nulls);
	values[TIMESTAMP] = TimestampTzGetDatum(m->timestamp);
	values[CREATED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[DIRECTION] =
		CStringGetTextDatum(m->inbound ? "inbound" : "outbound");
	values[CHANNEL] = PointerGetDatum(m->channel);
	values[CONVERSATION_KEY] = PointerGetDatum(m->conversation_key);
	values[FROM] = PointerGetDatum(m->from);
	values[TO] = PointerGetDatum(m->to);
	put(m->provider_message_id, PROVIDER_MESSAGE_ID, values, nulls);
	put(m->correlation_id, CORRELATION_ID, values, nulls);
	put(m->body, BODY, values, nulls);
	put(m->attachments, ATTACHMENTS, values, nulls);
	put(m->from_given, FROM_GIVEN, values, nulls);
	put(m->to_given, TO_GIVEN, values, nulls);
	put(m->subject, SUBJECT, values, nulls);
}

static void
put(const void *value, int column, Datum *values, bool *nulls)
{
	values[column] = PointerGetDatum(value);
	nulls[column] = value == NULL;
}

static void
insert_by_statement(const ConversationMessage *messages, int n)
{
	Datum *columns = palloc(sizeof(Datum) * n * COLUMNS);
	bool *nulls = palloc(sizeof(bool) * n * COLUMNS);
	Datum row[COLUMNS];
	bool row_nulls[COLUMNS];
	Datum values[COLUMNS];
	int column;
	int i;

	for (i = 0; i < n; i++)
	{
		read_row(messages, i, row, row_nulls);
		for (column = 0; column < COLUMNS; column++)
		{
			columns[column * n + i] = row[column];
			nulls[column * n + i] = row_nulls[column];
		}
	}
	for (column = 0; column < COLUMNS; column++)
		values[column] = statement_array(types[column],
										 columns + column * n,
										 nulls + column * n,
										 n);
	statement_execute(&insert_messages, values, NULL);
}

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
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "conversations/insert.h"
#include "server/row_statement.h"

/* The columns of messages, in the order of sql/30_conversations/. */
enum
{
	TIMESTAMP,
	CREATED_AT,
	TENANT_ID,
	ID,
	CONVERSATION_ID,
	INBOUND_EVENT_ID,
	DIRECTION,
	CHANNEL,
	CONVERSATION_KEY,
	FROM,
	TO,
	PROVIDER_MESSAGE_ID,
	BODY,
	CORRELATION_ID,
	ATTACHMENTS,
	FROM_GIVEN,
	TO_GIVEN,
	SUBJECT,
	COLUMNS
};

static void read_row(const void *messages, int i, Datum *values, bool *nulls);
static void put(const void *value, int column, Datum *values, bool *nulls);

void
conversations_insert(const ConversationMessage *messages, int n)
{
	row_insert_any("messages", COLUMNS, read_row, messages, n);
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

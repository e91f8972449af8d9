/*
 * conversations/event.c: reads the message that an accepted event makes.
 *
 * What comes out hangs on the event's row alone, so that the same event makes
 * the same message whenever it is read: applied, tried again or replayed.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "conversations/event.h"
#include "inbox/inbox.h"
#include "server/statement.h"

static text *read_text(uint64 row, int column);
static void read_payload(Jsonb *payload,
						 TimestampTz accepted_at,
						 ConversationMessage *message);
static Jsonb *read_attachments(const JsonbValue *value);

TimestampTz
event_read_message(uint64 row, ConversationMessage *message)
{
	TimestampTz accepted_at;
	bool isnull;

	message->inbound = true;
	message->tenant_id = read_text(row, 1);
	message->id = *DatumGetUUIDP(statement_value(row, 2, &isnull));
	message->channel = read_text(row, 3);
	message->from = read_text(row, 4);
	message->to = read_text(row, 5);
	message->provider_message_id = read_text(row, 6);
	message->correlation_id = read_text(row, 7);
	accepted_at = DatumGetTimestampTz(statement_value(row, 9, &isnull));
	read_payload(DatumGetJsonbPCopy(statement_value(row, 8, &isnull)),
				 accepted_at,
				 message);
	return accepted_at;
}

static text *
read_text(uint64 row, int column)
{
	bool isnull;
	Datum value = statement_value(row, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

/*
 * What was let in was checked at the door. A payload that came into the log in
 * another way still makes a message: with what of it makes sense.
 */
static void
read_payload(Jsonb *payload,
			 TimestampTz accepted_at,
			 ConversationMessage *message)
{
	JsonbValue value;

	if (inbox_find_field(payload, "body", &value) && value.type == jbvString)
		message->body = cstring_to_text_with_len(value.val.string.val,
												 value.val.string.len);
	else
		message->body = cstring_to_text("");
	if (inbox_find_field(payload, "attachments", &value))
		message->attachments = read_attachments(&value);
	if (!inbox_find_field(payload, "timestamp", &value) ||
		value.type != jbvString ||
		!inbox_parse_timestamp(value.val.string.val,
							   value.val.string.len,
							   &message->timestamp))
		message->timestamp = accepted_at;
}

/* The strings of an array; NULL when it is none. */
static Jsonb *
read_attachments(const JsonbValue *value)
{
	JsonbParseState *state = NULL;
	JsonbContainer *list = value->val.binary.data;
	uint32 i;

	if (value->type != jbvBinary || !JsonContainerIsArray(list))
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (i = 0; i < JsonContainerSize(list); i++)
	{
		JsonbValue *url = getIthJsonbValueFromContainer(list, i);

		if (url->type == jbvString)
			pushJsonbValue(&state, WJB_ELEM, url);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/*
 * conversations/event.c: derives a message from an accepted event.
 *
 * The message depends on the event's row and the settings alone, so that an
 * event always gives the same message: when it is processed, retried or
 * replayed.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "conversations/event.h"
#include "inbox/payload.h"
#include "inbox/timestamp.h"
#include "server/jsonb_state.h"
#include "server/statement.h"

static text *read_text(uint64 row, int column);
static void read_payload(TimestampTz accepted_at, ConversationMessage *message);
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
	message->payload = DatumGetJsonbPCopy(statement_value(row, 8, &isnull));
	read_payload(accepted_at, message);
	message_read_given(message);
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
 * ingest() has validated the payload. One that got into the log in another way
 * still gives a message, from the fields that are valid.
 */
static void
read_payload(TimestampTz accepted_at, ConversationMessage *message)
{
	Jsonb *payload = message->payload;
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
	message->timestamp =
		message_limit_timestamp(message->timestamp, accepted_at);
}

/* The strings of an array; NULL if the value is not an array. */
static Jsonb *
read_attachments(const JsonbValue *value)
{
	JsonbInState state = {0};
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
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}

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

static text *copy_text(const Datum *values, const bool *nulls, int column);
static void read_payload(TimestampTz accepted_at, ConversationMessage *message);
static Jsonb *read_attachments(const JsonbValue *value);

TimestampTz
event_read_message(uint64 row, ConversationMessage *message)
{
	Datum values[EVENT_NCOLUMNS];
	bool nulls[EVENT_NCOLUMNS];
	int i;

	for (i = 0; i < EVENT_NCOLUMNS; i++)
		values[i] = statement_value(row, i + 1, &nulls[i]);
	return event_make_message(values, nulls, message);
}

TimestampTz
event_make_message(const Datum *values,
				   const bool *nulls,
				   ConversationMessage *message)
{
	TimestampTz accepted_at = DatumGetTimestampTz(values[8]);

	message->inbound = true;
	message->tenant_id = copy_text(values, nulls, 0);
	message->id = *DatumGetUUIDP(values[1]);
	message->channel = copy_text(values, nulls, 2);
	message->from = copy_text(values, nulls, 3);
	message->to = copy_text(values, nulls, 4);
	message->provider_message_id = copy_text(values, nulls, 5);
	message->correlation_id = copy_text(values, nulls, 6);
	message->payload = DatumGetJsonbPCopy(values[7]);
	read_payload(accepted_at, message);
	message_read_given(message);
	return accepted_at;
}

static text *
copy_text(const Datum *values, const bool *nulls, int column)
{
	return nulls[column] ? NULL : DatumGetTextPCopy(values[column]);
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

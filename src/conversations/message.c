/*
 * conversations/message.c: the parts of a message that are kept as given.
 *
 * An address has two forms. The normalized one is the identity of a
 * participant: it makes keys, threads and lists. The given one is for delivery
 * and display. It is kept only where it differs, so that the row of most
 * messages does not grow.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "conversations/message.h"
#include "inbox/check.h"
#include "inbox/payload.h"
#include "server/settings.h"

/* A key is a column of an index. */
#define MAX_PARTICIPANTS 64
#define MAX_PARTICIPANTS_BYTES 1000

static text *
read_given(Jsonb *payload, const char *field, const text *normalized);
static int
read_participants(const Channel *channel, Jsonb *payload, text **participants);
static text *read_participant(const Channel *channel, const JsonbValue *value);
static int compare_participants(const void *a, const void *b);
static text *join_participants(text **participants, int n);

PG_FUNCTION_INFO_V1(msgstore_identity);

/* NULL for a channel that does not exist. */
Datum
msgstore_identity(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *address = PG_GETARG_TEXT_PP(1);
	const Channel *channel =
		channels_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	if (channel == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(message_identity(channel,
									  VARDATA_ANY(address),
									  VARSIZE_ANY_EXHDR(address),
									  PG_GETARG_TEXT_PP(2)));
}

text *
message_identity(const Channel *channel,
				 const char *address,
				 int len,
				 text *stored)
{
	AddressVerdict verdict;
	const char *expected;
	text *normalized = address_normalize(channel, address, len, &verdict);

	if (verdict != ADDRESS_SINGLE ||
		inbox_address_fault(normalized, &expected) != NULL)
		return stored;
	return normalized;
}

TimestampTz
message_limit_timestamp(TimestampTz timestamp, TimestampTz accepted_at)
{
	int64 limit = msgstore_max_clock_skew * USECS_PER_SEC;

	return limit > 0 && timestamp - accepted_at > limit ? accepted_at
														: timestamp;
}

void
message_set_key(const Channel *channel, ConversationMessage *message)
{
	text *named[MAX_PARTICIPANTS];
	int n = 0;

	if (!channel->strict_order)
		n = read_participants(channel, message->payload, named);
	if (n < 2)
	{
		named[0] = message->from;
		named[1] = message->to;
		n = 2;
		qsort(named, n, sizeof(text *), compare_participants);
	}
	message->participant_a = named[0];
	message->participant_b = join_participants(named + 1, n - 1);
	message->conversation_key = address_join_key(channel->thread,
												 message->participant_a,
												 message->participant_b);
}

/*
 * Sorted and different from each other. Returns their number, 0 if the payload
 * does not name valid ones.
 */
static int
read_participants(const Channel *channel, Jsonb *payload, text **participants)
{
	JsonbValue list;
	Size bytes = 0;
	int n = 0;
	int kept = 0;

	if (!inbox_find_field(payload, "conversation_participants", &list) ||
		list.type != jbvBinary || !JsonContainerIsArray(list.val.binary.data) ||
		JsonContainerSize(list.val.binary.data) > MAX_PARTICIPANTS)
		return 0;
	for (; n < (int) JsonContainerSize(list.val.binary.data); n++)
	{
		participants[n] = read_participant(
			channel,
			getIthJsonbValueFromContainer(list.val.binary.data, n));
		if (participants[n] == NULL)
			return 0;
		bytes += VARSIZE_ANY_EXHDR(participants[n]);
	}
	if (bytes > MAX_PARTICIPANTS_BYTES)
		return 0;
	qsort(participants, n, sizeof(text *), compare_participants);
	for (int i = 0; i < n; i++)
	{
		if (kept == 0 ||
			address_compare(participants[kept - 1], participants[i]) != 0)
			participants[kept++] = participants[i];
	}
	return kept;
}

/* NULL: it is not one address. */
static text *
read_participant(const Channel *channel, const JsonbValue *value)
{
	AddressVerdict verdict;
	const char *expected;
	text *address;

	if (value->type != jbvString)
		return NULL;
	address = address_normalize(channel,
								value->val.string.val,
								value->val.string.len,
								&verdict);
	if (verdict != ADDRESS_SINGLE ||
		inbox_address_fault(address, &expected) != NULL)
		return NULL;
	return address;
}

static int
compare_participants(const void *a, const void *b)
{
	return address_compare(*(text *const *) a, *(text *const *) b);
}

/* "b,c" */
static text *
join_participants(text **participants, int n)
{
	StringInfoData joined;

	if (n == 1)
		return participants[0];
	initStringInfo(&joined);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(&joined, ',');
		appendBinaryStringInfo(&joined,
							   VARDATA_ANY(participants[i]),
							   (int) VARSIZE_ANY_EXHDR(participants[i]));
	}
	return cstring_to_text_with_len(joined.data, joined.len);
}

void
message_read_given(ConversationMessage *message)
{
	JsonbValue value;

	message->from_given = read_given(message->payload, "from", message->from);
	message->to_given = read_given(message->payload, "to", message->to);
	message->subject = NULL;
	if (inbox_find_field(message->payload, "subject", &value) &&
		value.type == jbvString && value.val.string.len > 0)
		message->subject = cstring_to_text_with_len(value.val.string.val,
													value.val.string.len);
}

/* Byte for byte: a sender must not get another address than was asked for. */
static text *
read_given(Jsonb *payload, const char *field, const text *normalized)
{
	JsonbValue value;

	if (!inbox_find_field(payload, field, &value) || value.type != jbvString)
		return NULL;
	if (value.val.string.len == (int) VARSIZE_ANY_EXHDR(normalized) &&
		memcmp(value.val.string.val,
			   VARDATA_ANY(normalized),
			   value.val.string.len) == 0)
		return NULL;
	return cstring_to_text_with_len(value.val.string.val, value.val.string.len);
}

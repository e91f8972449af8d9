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

static text *
read_given(Jsonb *payload, const char *field, const text *normalized);

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

/*
 * conversations/message.c: the parts of a message that are kept as given.
 *
 * An address has two forms. The normalized one is the identity of a
 * participant: it makes keys, threads and lists. The given one is for delivery
 * and display. It is kept only where it differs, so that the row of most
 * messages does not grow.
 */
#include "postgres.h"

#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "conversations/message.h"
#include "inbox/payload.h"

static text *
read_given(Jsonb *payload, const char *field, const text *normalized);

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

/*
 * inbox/digest.c: SHA-256 digests that tell whether two requests are the same.
 *
 * The stored bytes of a payload cannot be compared: 1 and 1.0 are equal as
 * jsonb, but stored differently. So a canonical form is digested, in which a
 * number has no trailing zeros. The order of keys is already canonical. Each
 * part begins with its kind and length, so that different payloads never have
 * the same form.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "channels/channels.h"
#include "inbox/digest.h"

static bytea *digest(const InboxItem *item, bool as_message);
static void
append_payload(StringInfo bytes, const InboxItem *item, bool as_message);
static bool is_left_out(const InboxItem *item, const JsonbValue *key);
static bool is_field(const JsonbValue *key, const char *name);
static void append_scalar(StringInfo bytes, const JsonbValue *value);
static void append_part(StringInfo bytes, char kind, const void *part, int len);

bytea *
inbox_digest_request(const InboxItem *item)
{
	return digest(item, false);
}

bytea *
inbox_digest_content(const InboxItem *item)
{
	return digest(item, true);
}

static bytea *
digest(const InboxItem *item, bool as_message)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	/* For the header of a bytea. */
	appendStringInfoSpaces(&bytes, VARHDRSZ);
	append_part(&bytes, 'c', item->channel, strlen(item->channel));
	if (as_message)
		append_part(&bytes, 'i', &item->timestamp, sizeof(item->timestamp));
	append_payload(&bytes, item, as_message);
	SET_VARSIZE(bytes.data, bytes.len);
	return DatumGetByteaPP(
		DirectFunctionCall1(sha256_bytea, PointerGetDatum(bytes.data)));
}

/* A key at the top waits for its value, which decides whether it counts. */
static void
append_payload(StringInfo bytes, const InboxItem *item, bool as_message)
{
	JsonbIterator *it = JsonbIteratorInit(&item->payload->root);
	JsonbIteratorToken token;
	JsonbValue value;
	JsonbValue key;
	bool key_waits = false;
	int depth = 0;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool top = as_message && depth == 1;

		if (key_waits)
		{
			key_waits = false;
			if (token == WJB_VALUE && value.type == jbvNull)
				continue;
			append_scalar(bytes, &key);
		}
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		if (token == WJB_KEY && top && is_left_out(item, &value))
			(void) JsonbIteratorNext(&it, &value, true);
		else if (token == WJB_KEY && top)
		{
			key = value;
			key_waits = true;
		}
		else if (token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM)
			append_scalar(bytes, &value);
		else
			append_part(bytes, (char) ('A' + token), NULL, 0);
	}
}

static bool
is_left_out(const InboxItem *item, const JsonbValue *key)
{
	const Channel *channel;

	if (is_field(key, "timestamp"))
		return true;
	if (!is_field(key, "type"))
		return false;
	channel = channels_get(item->channel, strlen(item->channel));
	return channel->ntypes > 0;
}

static bool
is_field(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) &&
		   memcmp(key->val.string.val, name, strlen(name)) == 0;
}

static void
append_scalar(StringInfo bytes, const JsonbValue *value)
{
	char *number;

	switch (value->type)
	{
		case jbvString:
			append_part(bytes,
						's',
						value->val.string.val,
						value->val.string.len);
			break;
		case jbvNumeric:
			number = numeric_normalize(value->val.numeric);
			append_part(bytes, 'n', number, strlen(number));
			pfree(number);
			break;
		case jbvBool:
			append_part(bytes, value->val.boolean ? 't' : 'f', NULL, 0);
			break;
		default:
			append_part(bytes, 'z', NULL, 0);
			break;
	}
}

static void
append_part(StringInfo bytes, char kind, const void *part, int len)
{
	appendStringInfoChar(bytes, kind);
	appendBinaryStringInfo(bytes, (const char *) &len, sizeof(len));
	if (len > 0)
		appendBinaryStringInfo(bytes, part, len);
}

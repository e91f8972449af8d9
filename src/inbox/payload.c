/*
 * inbox/payload.c: the size of a payload, and the redaction of secrets.
 *
 * The size is that of the shortest JSON text of the payload, so that a request
 * body within the limit is never over it here, however the server stores or
 * prints it. Numbers are the exception: they count as printed, without an
 * exponent, because ten bytes can expand to 128 kB for everyone who reads the
 * payload. One pass measures the payload and looks for secrets; only a payload
 * that contains some is rebuilt.
 */
#include "postgres.h"

#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "inbox/payload.h"
#include "server/jsonb_state.h"
#include "server/settings.h"

/* msgstore.redact_keys, split and in lower case; rebuilt after a change. */
static List *redact_keys = NIL;
static bool redact_keys_stale = true;

/* Their first letters: a bit for the last five bits of each. */
static uint32 redact_letters = 0;

static void split_redact_keys(void);
static uint32 letter_bit(char c);
static bool is_redacted(const JsonbValue *key);
static Size measure_string(const JsonbValue *string);
static bool any_escaped(const char *eight);
static Size measure_scalar(const JsonbValue *scalar);
static Size measure_number(Numeric number);

bool
inbox_find_field(Jsonb *payload, const char *field, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&payload->root,
										field,
										strlen(field),
										value) != NULL &&
		   value->type != jbvNull;
}

Size
inbox_measure_payload(Jsonb *payload, bool *has_redacted_key)
{
	JsonbIterator *it = JsonbIteratorInit(&payload->root);
	JsonbIteratorToken token;
	JsonbValue value;
	Size bytes = 0;
	int children;

	split_redact_keys();
	*has_redacted_key = false;
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_OBJECT:
			case WJB_BEGIN_ARRAY:
				/* the brackets, and the commas between the children */
				children = token == WJB_BEGIN_OBJECT ? value.val.object.nPairs
													 : value.val.array.nElems;
				bytes += 2 + Max(children - 1, 0);
				break;
			case WJB_KEY:
				bytes += measure_string(&value) + 1;
				if (!*has_redacted_key)
					*has_redacted_key = is_redacted(&value);
				break;
			case WJB_VALUE:
			case WJB_ELEM:
				bytes += measure_scalar(&value);
				/* It is too large, and printing each number takes time. */
				if (value.type == jbvNumeric &&
					bytes > (Size) msgstore_max_payload_bytes)
					return bytes;
				break;
			default:
				break;
		}
	}
	return bytes;
}

Size
inbox_measure_numbers(Jsonb *payload, Size limit)
{
	JsonbIterator *it = JsonbIteratorInit(&payload->root);
	JsonbIteratorToken token;
	JsonbValue value;
	Size bytes = 0;

	while (bytes <= limit &&
		   (token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		if ((token == WJB_VALUE || token == WJB_ELEM) &&
			value.type == jbvNumeric)
			bytes += measure_number(value.val.numeric);
	}
	return bytes;
}

Jsonb *
inbox_redact_payload(Jsonb *payload)
{
	JsonbIterator *it = JsonbIteratorInit(&payload->root);
	JsonbInState state = {0};
	JsonbIteratorToken token;
	JsonbValue value;
	JsonbValue mask;

	split_redact_keys();
	mask.type = jbvString;
	mask.val.string.val = "***";
	mask.val.string.len = 3;
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool scalar =
			token == WJB_KEY || token == WJB_VALUE || token == WJB_ELEM;

		pushJsonbValue(&state, token, scalar ? &value : NULL);
		if (token == WJB_KEY && is_redacted(&value))
		{
			(void) JsonbIteratorNext(&it, &value, true);
			pushJsonbValue(&state, WJB_VALUE, &mask);
		}
	}
	return JsonbValueToJsonb(state.result);
}

void
inbox_assign_redact_keys(const char *value, void *extra)
{
	(void) value;
	(void) extra;
	redact_keys_stale = true;
}

static void
split_redact_keys(void)
{
	MemoryContext caller;
	const char *at = msgstore_redact_keys;

	if (!redact_keys_stale)
		return;
	list_free_deep(redact_keys);
	redact_keys = NIL;
	redact_letters = 0;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	while (*at != '\0')
	{
		int length = strcspn(at, ", ");
		char *key;
		char *c;

		if (length > 0)
		{
			key = pnstrdup(at, length);
			for (c = key; *c != '\0'; c++)
				*c = pg_ascii_tolower((unsigned char) *c);
			redact_keys = lappend(redact_keys, key);
			redact_letters |= letter_bit(key[0]);
		}
		at += length + strspn(at + length, ", ");
	}
	MemoryContextSwitchTo(caller);
	redact_keys_stale = false;
}

/* The same for a letter in upper and lower case. */
static uint32
letter_bit(char c)
{
	return (uint32) 1 << (c & 31);
}

static bool
is_redacted(const JsonbValue *key)
{
	ListCell *cell;

	if (key->val.string.len == 0 ||
		(redact_letters & letter_bit(key->val.string.val[0])) == 0)
		return false;
	foreach (cell, redact_keys)
	{
		const char *word = lfirst(cell);
		int i;

		for (i = 0; i < key->val.string.len && word[i] != '\0'; i++)
		{
			unsigned char c = key->val.string.val[i];

			if (pg_ascii_tolower(c) != (unsigned char) word[i])
				break;
		}
		if (i == key->val.string.len && word[i] == '\0')
			return true;
	}
	return false;
}

/* With its quotes, and with the escapes that JSON requires. */
static Size
measure_string(const JsonbValue *string)
{
	const unsigned char *s = (const unsigned char *) string->val.string.val;
	Size bytes = 2 + string->val.string.len;
	int i;

	for (i = 0; i < string->val.string.len; i++)
	{
		if (i + 8 <= string->val.string.len &&
			!any_escaped(string->val.string.val + i))
			i += 7;
		else if (s[i] == '"' || s[i] == '\\' ||
				 (s[i] >= '\b' && s[i] <= '\r' && s[i] != '\v'))
			bytes += 1;
		else if (s[i] < ' ')
			bytes += 5;
	}
	return bytes;
}

/*
 * Whether one of eight bytes is a quote, a backslash or a control character. A
 * byte that is less than n borrows from its highest bit when n is subtracted.
 */
static bool
any_escaped(const char *eight)
{
	const uint64 ones = PG_UINT64_MAX / 255;
	uint64 bytes;
	uint64 quote;
	uint64 backslash;

	memcpy(&bytes, eight, sizeof(bytes));
	quote = bytes ^ ones * '"';
	backslash = bytes ^ ones * '\\';
	return ((((bytes - ones * ' ') & ~bytes) | ((quote - ones) & ~quote) |
			 ((backslash - ones) & ~backslash)) &
			(ones << 7)) != 0;
}

static Size
measure_scalar(const JsonbValue *scalar)
{
	switch (scalar->type)
	{
		case jbvString:
			return measure_string(scalar);
		case jbvNumeric:
			return measure_number(scalar->val.numeric);
		case jbvBool:
			return scalar->val.boolean ? strlen("true") : strlen("false");
		default:
			return strlen("null");
	}
}

static Size
measure_number(Numeric number)
{
	char *text = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	Size bytes = strlen(text);

	pfree(text);
	return bytes;
}

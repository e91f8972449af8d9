/*
 * streams/given.c: an event given as a JSON object.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "server/errors.h"
#include "server/times.h"
#include "server/versions.h"
#include "streams/streams.h"

#define FIELDS_OF_EVENT                                                        \
	"An event must have the fields stream, type and data; metadata, "          \
	"expected_version, event_id, created_by, happened_at and tags are "        \
	"optional."

static void set_field(StreamEvent *event, int ordinal, char *key, JsonbValue *);
static text *
string_value(int ordinal, const char *field, const JsonbValue *value);
static int64
version_value(int ordinal, const char *field, const JsonbValue *value);
static TimestampTz
time_value(int ordinal, const char *field, const JsonbValue *value);
static ArrayType *
tags_value(int ordinal, const char *field, const JsonbValue *value);
static pg_uuid_t *id_value(int ordinal, const JsonbValue *value);
pg_noreturn static void
refuse_field(int ordinal, const char *field, const char *kind);

void
streams_read_event(Jsonb *given, int ordinal, StreamEvent *event)
{
	JsonbIterator *iterator = JsonbIteratorInit(&given->root);
	JsonbValue key;
	JsonbValue value;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvNull)
			set_field(event,
					  ordinal,
					  pnstrdup(key.val.string.val, key.val.string.len),
					  &value);
	}
	if (event->stream == NULL || event->type == NULL || event->data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("event %d has no \"%s\"",
						ordinal,
						event->stream == NULL ? "stream"
						: event->type == NULL ? "type"
											  : "data"),
				 errdetail(FIELDS_OF_EVENT)));
	streams_check_not_kept(event);
	streams_check_tags(event);
	streams_check_event(event);
	streams_check_expected(event);
}

static void
set_field(StreamEvent *event, int ordinal, char *key, JsonbValue *value)
{
	if (strcmp(key, "stream") == 0)
		event->stream = string_value(ordinal, key, value);
	else if (strcmp(key, "type") == 0)
		event->type = string_value(ordinal, key, value);
	else if (strcmp(key, "created_by") == 0)
		event->created_by = string_value(ordinal, key, value);
	else if (strcmp(key, "data") == 0)
		event->data = JsonbValueToJsonb(value);
	else if (strcmp(key, "metadata") == 0)
		event->metadata = JsonbValueToJsonb(value);
	else if (strcmp(key, "event_id") == 0)
		event->event_id = id_value(ordinal, value);
	else if (strcmp(key, "expected_version") == 0)
	{
		event->has_expected = true;
		event->expected = version_value(ordinal, key, value);
	}
	else if (strcmp(key, "happened_at") == 0)
	{
		event->has_happened = true;
		event->happened_at = time_value(ordinal, key, value);
	}
	else if (strcmp(key, "tags") == 0)
		event->tags = tags_value(ordinal, key, value);
	else
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("event %d has an unknown field \"%s\"", ordinal, key),
				 errdetail(FIELDS_OF_EVENT)));
}

static text *
string_value(int ordinal, const char *field, const JsonbValue *value)
{
	if (value->type != jbvString)
		refuse_field(ordinal, field, "a string");
	return cstring_to_text_with_len(value->val.string.val,
									value->val.string.len);
}

static int64
version_value(int ordinal, const char *field, const JsonbValue *value)
{
	char *digits;
	char *end;
	int64 version;

	if (value->type != jbvNumeric)
		refuse_field(ordinal, field, "an integer");
	digits = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	errno = 0;
	version = strtoll(digits, &end, 10);
	if (errno != 0 || *end != '\0')
		refuse_field(ordinal, field, "an integer");
	return version;
}

static TimestampTz
time_value(int ordinal, const char *field, const JsonbValue *value)
{
	TimestampTz result = 0;

	if (value->type != jbvString ||
		!times_parse(pnstrdup(value->val.string.val, value->val.string.len),
					 &result))
		refuse_field(ordinal, field, "a time");
	return result;
}

/* NULL for an empty array. */
static ArrayType *
tags_value(int ordinal, const char *field, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;
	Datum *tags;
	int n = 0;

	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		refuse_field(ordinal, field, "an array of strings");
	tags = palloc(sizeof(Datum) *
				  Max(JsonContainerSize(value->val.binary.data), 1));
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvString)
			refuse_field(ordinal, field, "an array of strings");
		tags[n++] =
			PointerGetDatum(cstring_to_text_with_len(element.val.string.val,
													 element.val.string.len));
	}
	return n == 0 ? NULL
				  : construct_array(tags, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/* Hexadecimal digits, with or without the hyphens of RFC 9562. */
static pg_uuid_t *
id_value(int ordinal, const JsonbValue *value)
{
	static const char hex[] = "0123456789abcdef";
	pg_uuid_t *id = palloc0(sizeof(pg_uuid_t));
	int digits = 0;
	int i;

	if (value->type != jbvString)
		refuse_field(ordinal, "event_id", "a UUID");
	for (i = 0; i < value->val.string.len; i++)
	{
		char c = pg_tolower((unsigned char) value->val.string.val[i]);
		const char *place = memchr(hex, c, 16);

		if (c == '-' && (i == 8 || i == 13 || i == 18 || i == 23))
			continue;
		if (place == NULL || digits == 32)
			refuse_field(ordinal, "event_id", "a UUID");
		id->data[digits / 2] |= (place - hex) << (digits % 2 == 0 ? 4 : 0);
		digits++;
	}
	if (digits != 32)
		refuse_field(ordinal, "event_id", "a UUID");
	return id;
}

static void
refuse_field(int ordinal, const char *field, const char *kind)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_BAD_REQUEST),
		 errmsg("field \"%s\" of event %d is not %s", field, ordinal, kind)));
}

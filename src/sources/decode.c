/*
 * sources/decode.c: makes jsonb of forms and text of HTML.
 *
 * Whatever a form holds becomes text that the database can store: a provider
 * repeats what a stranger wrote, and a message must not be lost because of one
 * invalid byte. An invalid sequence and NUL become U+FFFD, or a question mark
 * in databases with another encoding than UTF8.
 *
 * SendGrid names the charset of each field in the field "charsets".
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "server/jsonb_state.h"
#include "sources/form.h"

static Jsonb *make_object(List *fields, FormBytes charsets);
static void push_text(JsonbInState *state,
					  JsonbIteratorToken token,
					  FormBytes bytes,
					  int encoding);
static FormBytes make_valid(FormBytes bytes, int encoding);
static bool convert(FormBytes bytes, int encoding, FormBytes *converted);
static FormBytes replace_invalid(FormBytes bytes);
static int find_charset(FormBytes charsets, FormBytes name);
static void push_number(JsonbInState *state, const char *name, size_t number);
static void push_slice(JsonbInState *state, const bytea *body, FormBytes slice);
static void
push_file(JsonbInState *state, const bytea *body, const FormField *field);
static bool same_name(FormBytes a, FormBytes b);

PG_FUNCTION_INFO_V1(msgstore_decode_form);
PG_FUNCTION_INFO_V1(msgstore_decode_multipart);

Datum
msgstore_decode_form(PG_FUNCTION_ARGS)
{
	bytea *body = PG_GETARG_BYTEA_PP(0);
	FormBytes none = {"", 0};

	PG_RETURN_JSONB_P(
		make_object(form_parse(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body)),
					none));
}

/*
 * {"body": the fields, "files": [...]}; NULL for a body without the format. The
 * field with that name, the whole of an e-mail, is "mail" and not decoded. What
 * is not decoded is told by its place in the body.
 */
Datum
msgstore_decode_multipart(PG_FUNCTION_ARGS)
{
	char *type = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bytea *body = PG_GETARG_BYTEA_PP(1);
	text *mail = PG_GETARG_TEXT_PP(2);
	FormBytes mail_name = {VARDATA_ANY(mail), VARSIZE_ANY_EXHDR(mail)};
	FormBytes charsets = {"", 0};
	FormBytes charsets_name = {"charsets", 8};
	JsonbInState state = {0};
	JsonbValue key = {.type = jbvString};
	JsonbValue object;
	List *fields;
	List *texts = NIL;
	const FormField *message = NULL;
	ListCell *cell;

	if (!multipart_parse(type,
						 VARDATA_ANY(body),
						 VARSIZE_ANY_EXHDR(body),
						 &fields))
		PG_RETURN_NULL();
	foreach (cell, fields)
	{
		FormField *field = lfirst(cell);

		if (same_name(field->name, mail_name))
			message = field;
		else if (!field->is_file)
			texts = lappend(texts, field);
		if (!field->is_file && same_name(field->name, charsets_name))
			charsets = field->value;
	}
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	key.val.string.val = "body";
	key.val.string.len = 4;
	pushJsonbValue(&state, WJB_KEY, &key);
	JsonbToJsonbValue(make_object(texts, charsets), &object);
	pushJsonbValue(&state, WJB_VALUE, &object);
	if (message != NULL)
	{
		key.val.string.val = "mail";
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_slice(&state, body, message->value);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	key.val.string.val = "files";
	key.val.string.len = 5;
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach (cell, fields)
	{
		FormField *field = lfirst(cell);

		if (field->is_file && field != message)
			push_file(&state, body, field);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/* A field that occurs several times becomes an array, in the order sent. */
static Jsonb *
make_object(List *fields, FormBytes charsets)
{
	JsonbInState state = {0};
	int i;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (i = 0; i < list_length(fields); i++)
	{
		FormField *field = list_nth(fields, i);
		int encoding = find_charset(charsets, field->name);
		bool repeated = false;
		int j;

		for (j = 0; j < i && !repeated; j++)
			repeated = same_name(((FormField *) list_nth(fields, j))->name,
								 field->name);
		if (repeated)
			continue;
		push_text(&state, WJB_KEY, field->name, PG_UTF8);
		for (j = i + 1; j < list_length(fields) && !repeated; j++)
			repeated = same_name(((FormField *) list_nth(fields, j))->name,
								 field->name);
		if (!repeated)
		{
			push_text(&state, WJB_VALUE, field->value, encoding);
			continue;
		}
		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (j = i; j < list_length(fields); j++)
		{
			FormField *other = list_nth(fields, j);

			if (same_name(other->name, field->name))
				push_text(&state, WJB_ELEM, other->value, encoding);
		}
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static void
push_text(JsonbInState *state,
		  JsonbIteratorToken token,
		  FormBytes bytes,
		  int encoding)
{
	FormBytes valid = make_valid(bytes, encoding);
	JsonbValue value = {.type = jbvString};

	value.val.string.val = (char *) valid.data;
	value.val.string.len = (int) valid.length;
	pushJsonbValue(state, token, &value);
}

/* In the encoding of the database. */
static FormBytes
make_valid(FormBytes bytes, int encoding)
{
	FormBytes converted = bytes;

	if (bytes.length > 0 && memchr(bytes.data, '\0', bytes.length) == NULL &&
		convert(bytes, encoding, &converted))
		return converted;
	return replace_invalid(bytes);
}

static bool
convert(FormBytes bytes, int encoding, FormBytes *converted)
{
	int target = GetDatabaseEncoding();
	Oid function;
	size_t size;
	char *out;
	int used;

	if (pg_encoding_verifymbstr(encoding, bytes.data, (int) bytes.length) !=
		(int) bytes.length)
		return false;
	if (encoding == target)
		return true;
	function = FindDefaultConversionProc(encoding, target);
	if (!OidIsValid(function))
		return false;
	size = bytes.length * MAX_CONVERSION_GROWTH + 1;
	out = MemoryContextAllocHuge(CurrentMemoryContext, size);
	used = pg_do_encoding_conversion_buf(function,
										 encoding,
										 target,
										 (unsigned char *) bytes.data,
										 (int) bytes.length,
										 (unsigned char *) out,
										 (int) Min(size, PG_INT32_MAX),
										 true);
	converted->data = out;
	converted->length = strlen(out);
	return used == (int) bytes.length;
}

static FormBytes
replace_invalid(FormBytes bytes)
{
	bool utf8 = GetDatabaseEncoding() == PG_UTF8;
	const char *mark = utf8 ? "\xef\xbf\xbd" : "?";
	char *out = palloc(bytes.length * strlen(mark) + 1);
	FormBytes valid = {out, 0};
	size_t i = 0;

	while (i < bytes.length)
	{
		unsigned char c = bytes.data[i];
		int length =
			utf8 ? pg_utf_mblen((const unsigned char *) &bytes.data[i]) : 1;

		if (c != '\0' && c < 0x80)
			out[valid.length++] = (char) c;
		else if (c != '\0' && utf8 && i + length <= bytes.length &&
				 pg_encoding_verifymbchar(PG_UTF8,
										  &bytes.data[i],
										  (int) (bytes.length - i)) == length)
		{
			memcpy(&out[valid.length], &bytes.data[i], length);
			valid.length += length;
			i += length;
			continue;
		}
		else
		{
			memcpy(&out[valid.length], mark, strlen(mark));
			valid.length += strlen(mark);
		}
		i++;
	}
	return valid;
}

/*
 * The encoding of a field by a JSON object of names, such as {"text":
 * "windows-1252"}; UTF-8 if there is none. A charset is a plain word, so the
 * JSON need not be parsed.
 */
static int
find_charset(FormBytes charsets, FormBytes name)
{
	char *key;
	const char *at;
	const char *end = charsets.data + charsets.length;
	const char *stop;
	int encoding;

	if (charsets.length == 0 || name.length > 64)
		return PG_UTF8;
	key = psprintf("\"%.*s\"", (int) name.length, name.data);
	at = memmem(charsets.data, charsets.length, key, strlen(key));
	if (at == NULL)
		return PG_UTF8;
	at += strlen(key);
	while (at < end && strchr(" \t\r\n:\"", *at) != NULL)
		at++;
	stop = memchr(at, '"', end - at);
	if (stop == NULL || stop - at > 40)
		return PG_UTF8;
	key = pnstrdup(at, stop - at);
	/* us-ascii is a part of UTF-8; many who name it send more than that. */
	if (pg_strcasecmp(key, "us-ascii") == 0)
		return PG_UTF8;
	encoding = pg_char_to_encoding(key);
	return encoding >= 0 ? encoding : PG_UTF8;
}

/* {"field", "name", "type", "offset", "size"} */
static void
push_file(JsonbInState *state, const bytea *body, const FormField *field)
{
	FormBytes names[] = {{"field", 5}, {"name", 4}, {"type", 4}};

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, WJB_KEY, names[0], PG_UTF8);
	push_text(state, WJB_VALUE, field->name, PG_UTF8);
	push_text(state, WJB_KEY, names[1], PG_UTF8);
	push_text(state, WJB_VALUE, field->filename, PG_UTF8);
	push_text(state, WJB_KEY, names[2], PG_UTF8);
	push_text(state, WJB_VALUE, field->type, PG_UTF8);
	push_slice(state, body, field->value);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Where the bytes are in the body. */
static void
push_slice(JsonbInState *state, const bytea *body, FormBytes slice)
{
	push_number(state,
				"offset",
				slice.length > 0 ? slice.data - VARDATA_ANY(body) : 0);
	push_number(state, "size", slice.length);
}

static void
push_number(JsonbInState *state, const char *name, size_t number)
{
	FormBytes key = {name, strlen(name)};
	JsonbValue value = {.type = jbvNumeric};

	push_text(state, WJB_KEY, key, PG_UTF8);
	value.val.numeric = int64_to_numeric((int64) number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static bool
same_name(FormBytes a, FormBytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

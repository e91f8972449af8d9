/*
 * address/address.c: normalized addresses, conversation keys and snippets in SQL.
 *
 * The work is done in UTF-8 by address/normalize.c and address/grapheme.c;
 * here is what the server adds: its encodings, its errors and the channels. An
 * encoding that leaves the meaning of a byte open cannot be normalized and is
 * refused. ASCII is the same in every encoding of a server and goes straight
 * through.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "address/bytes.h"
#include "server/errors.h"

/* Grapheme clusters in a snippet where the caller says nothing. */
#define DEFAULT_SNIPPET_LENGTH 64

static text *normalize_text(AddressKind kind, text *address);
static text *cut_snippet(const char *body, int len, int max_length);
static const char *utf8_from_server(const char *s, int *len);
static text *text_from_utf8(const char *s, int len);

PG_FUNCTION_INFO_V1(msgstore_normalize_phone);
PG_FUNCTION_INFO_V1(msgstore_normalize_email);
PG_FUNCTION_INFO_V1(msgstore_normalize_address);
PG_FUNCTION_INFO_V1(msgstore_conversation_key);
PG_FUNCTION_INFO_V1(msgstore_snippet);

Datum
msgstore_normalize_phone(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(normalize_text(ADDRESS_PHONE, PG_GETARG_TEXT_PP(0)));
}

Datum
msgstore_normalize_email(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(normalize_text(ADDRESS_EMAIL, PG_GETARG_TEXT_PP(0)));
}

Datum
msgstore_normalize_address(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *address = PG_GETARG_TEXT_PP(1);
	const Channel *channel =
		channels_get(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	PG_RETURN_TEXT_P(normalize_text(channel->address_kind, address));
}

Datum
msgstore_conversation_key(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *a = PG_GETARG_TEXT_PP(1);
	text *b = PG_GETARG_TEXT_PP(2);
	const Channel *channel =
		channels_get(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	PG_RETURN_TEXT_P(
		address_join_key(channel->thread,
						 normalize_text(channel->address_kind, a),
						 normalize_text(channel->address_kind, b)));
}

/* Not strict: a message without a body has an empty snippet, not none. */
Datum
msgstore_snippet(PG_FUNCTION_ARGS)
{
	int max_length =
		PG_ARGISNULL(1) ? DEFAULT_SNIPPET_LENGTH : PG_GETARG_INT32(1);
	text *body;

	if (max_length < 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("snippet length %d is negative", max_length),
				 errdetail("It is a number of characters, 0 or more.")));
	if (PG_ARGISNULL(0) || max_length == 0)
		PG_RETURN_TEXT_P(cstring_to_text(""));
	body = PG_GETARG_TEXT_PP(0);
	PG_RETURN_TEXT_P(
		cut_snippet(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), max_length));
}

text *
address_normalize(AddressKind kind, const char *address, int len)
{
	const char *utf8 = utf8_from_server(address, &len);
	text *result = palloc(VARHDRSZ + ADDRESS_ROOM((Size) len));
	size_t n = 0;

	switch (kind)
	{
		case ADDRESS_PHONE:
			n = address_write_phone(utf8, len, VARDATA(result));
			break;
		case ADDRESS_EMAIL:
			n = address_write_email(utf8, len, VARDATA(result));
			break;
		case ADDRESS_OPAQUE:
			n = address_write_opaque(utf8, len, VARDATA(result));
			break;
	}
	if (utf8 != address)
		return text_from_utf8(VARDATA(result), n);
	SET_VARSIZE(result, VARHDRSZ + n);
	return result;
}

bool
address_is_blank(const char *s, int len)
{
	const char *utf8;

	/* Most fields begin with what needs no conversion to be seen. */
	if (len > 0 && *s > ' ' && *s < 0x7F)
		return false;
	utf8 = utf8_from_server(s, &len);
	return address_count_space(utf8, len) == (size_t) len;
}

static text *
normalize_text(AddressKind kind, text *address)
{
	return address_normalize(kind,
							 VARDATA_ANY(address),
							 VARSIZE_ANY_EXHDR(address));
}

/* The same for both directions: the lesser address goes first. */
text *
address_join_key(const char *thread, const text *a, const text *b)
{
	bool swap = address_compare(a, b) > 0;
	const text *least = swap ? b : a;
	const text *greatest = swap ? a : b;
	Size size = VARHDRSZ + strlen(thread) + strlen(":<->") +
				VARSIZE_ANY_EXHDR(least) + VARSIZE_ANY_EXHDR(greatest);
	text *key = palloc(size);
	char *at = VARDATA(key);

	memcpy(at, thread, strlen(thread));
	at += strlen(thread);
	*at++ = ':';
	memcpy(at, VARDATA_ANY(least), VARSIZE_ANY_EXHDR(least));
	at += VARSIZE_ANY_EXHDR(least);
	memcpy(at, "<->", 3);
	at += 3;
	memcpy(at, VARDATA_ANY(greatest), VARSIZE_ANY_EXHDR(greatest));
	SET_VARSIZE(key, size);
	return key;
}

/* By bytes, not by locale: a key may not depend on the database it is in. */
int
address_compare(const text *a, const text *b)
{
	int alen = VARSIZE_ANY_EXHDR(a);
	int blen = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/* Copied into its own size: a list keeps many of them for a while. */
static text *
cut_snippet(const char *body, int len, int max_length)
{
	const char *utf8 = utf8_from_server(body, &len);
	char *room = palloc(len + 1);
	size_t n = address_write_snippet(utf8, len, max_length, room);
	text *result;

	if (utf8 != body)
		result = text_from_utf8(room, n);
	else
		result = cstring_to_text_with_len(room, n);
	pfree(room);
	return result;
}

/*
 * The same characters in UTF-8, and their length in bytes: s itself if it
 * needs no conversion, and then neither does what is made of it.
 */
static const char *
utf8_from_server(const char *s, int *len)
{
	const char *utf8;
	int i = 0;

	if (GetDatabaseEncoding() == PG_UTF8)
		return s;
	while (i < *len && !IS_HIGHBIT_SET(s[i]))
		i++;
	if (i == *len)
		return s;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("text beyond ASCII has no meaning in encoding \"%s\"",
						GetDatabaseEncodingName()),
				 errhint("Use a database with encoding \"UTF8\".")));
	utf8 = pg_server_to_any(s, *len, PG_UTF8);
	*len = strlen(utf8);
	return utf8;
}

static text *
text_from_utf8(const char *s, int len)
{
	char *converted = pg_any_to_server(s, len, PG_UTF8);

	if (converted == s)
		return cstring_to_text_with_len(s, len);
	return cstring_to_text(converted);
}

/*
 * address/address.c: normalized addresses, conversation keys and snippets in
 * SQL.
 *
 * The work is done in UTF-8 by address/phone.c, address/email.c and
 * address/grapheme.c; this file adds the encodings, errors and channels. ASCII
 * is the same in every server encoding and is not converted. Bytes beyond it
 * have no defined meaning in SQL_ASCII and are refused there.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "address/bytes.h"
#include "server/errors.h"

/* Grapheme clusters in a snippet if max_length is null. */
#define DEFAULT_SNIPPET_LENGTH 64

static text *
normalize_text(AddressKind kind, bool keep_plus_tags, text *address);
static text *normalize_for(const Channel *channel, text *address);
static text *normalize(AddressKind kind,
					   bool keep_plus_tags,
					   const char *address,
					   int len,
					   AddressVerdict *verdict);
static text *cut_snippet(const char *body, int len, int max_length);
static const char *utf8_from_server(const char *s, int *len);
static text *text_from_utf8(const char *s, int len);
static text *try_text_from_utf8(const char *s, int len);

PG_FUNCTION_INFO_V1(msgstore_normalize_phone);
PG_FUNCTION_INFO_V1(msgstore_normalize_email);
PG_FUNCTION_INFO_V1(msgstore_normalize_address);
PG_FUNCTION_INFO_V1(msgstore_address_fault);
PG_FUNCTION_INFO_V1(msgstore_conversation_key);
PG_FUNCTION_INFO_V1(msgstore_snippet);

Datum
msgstore_normalize_phone(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(
		normalize_text(ADDRESS_PHONE, false, PG_GETARG_TEXT_PP(0)));
}

Datum
msgstore_normalize_email(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(
		normalize_text(ADDRESS_EMAIL, false, PG_GETARG_TEXT_PP(0)));
}

Datum
msgstore_normalize_address(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *address = PG_GETARG_TEXT_PP(1);
	const Channel *channel =
		channels_get(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	PG_RETURN_TEXT_P(normalize_for(channel, address));
}

Datum
msgstore_address_fault(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *address = PG_GETARG_TEXT_PP(1);
	const Channel *channel =
		channels_get(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	AddressVerdict verdict;
	const char *fault;
	const char *detail;
	const char *hint;

	(void) address_normalize(channel,
							 VARDATA_ANY(address),
							 VARSIZE_ANY_EXHDR(address),
							 &verdict);
	fault = address_fault(channel, verdict, &detail, &hint);
	if (fault == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(fault));
}

Datum
msgstore_conversation_key(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	text *a = PG_GETARG_TEXT_PP(1);
	text *b = PG_GETARG_TEXT_PP(2);
	const Channel *channel =
		channels_get(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));

	PG_RETURN_TEXT_P(address_join_key(channel->thread,
									  normalize_for(channel, a),
									  normalize_for(channel, b)));
}

/* Not strict: the snippet of a message without a body is empty, not null. */
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
				 errdetail("The length must be at least 0.")));
	if (PG_ARGISNULL(0) || max_length == 0)
		PG_RETURN_TEXT_P(cstring_to_text(""));
	body = PG_GETARG_TEXT_PP(0);
	PG_RETURN_TEXT_P(
		cut_snippet(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), max_length));
}

text *
address_normalize(const Channel *channel,
				  const char *address,
				  int len,
				  AddressVerdict *verdict)
{
	return normalize(channel->address_kind,
					 channel->keep_plus_tags,
					 address,
					 len,
					 verdict);
}

const char *
address_fault(const Channel *channel,
			  AddressVerdict verdict,
			  const char **detail,
			  const char **hint)
{
	*hint = NULL;
	switch (verdict)
	{
		case ADDRESS_SINGLE:
			break;
		case ADDRESS_SEVERAL:
			*detail = "The field must hold one address.";
			*hint = "Send one message for each address.";
			return "holds more than one address";
		case ADDRESS_TOO_LONG:
			*detail =
				"A phone number must have at most 15 digits, country code included.";
			return "holds a phone number of more than 15 digits";
		case ADDRESS_MISSING:
			*detail =
				channel->address_kind == ADDRESS_EMAIL
					? "The field must hold an e-mail address, such as ann@example.com."
					: "The field must hold a phone number, an e-mail address or the name of a sender.";
			return "holds no address";
	}
	*detail = NULL;
	return NULL;
}

static text *
normalize(AddressKind kind,
		  bool keep_plus_tags,
		  const char *address,
		  int len,
		  AddressVerdict *verdict)
{
	const char *utf8 = utf8_from_server(address, &len);
	text *result = palloc(VARHDRSZ + ADDRESS_ROOM((Size) len));
	char *out = VARDATA(result);
	size_t n = 0;

	switch (kind)
	{
		case ADDRESS_PHONE:
			n = address_write_phone(utf8, len, keep_plus_tags, out, verdict);
			break;
		case ADDRESS_EMAIL:
			n = address_write_email(utf8, len, keep_plus_tags, out, verdict);
			break;
		case ADDRESS_OPAQUE:
			n = address_write_opaque(utf8, len, out, verdict);
			break;
	}
	if (utf8 != address || GetDatabaseEncoding() != PG_UTF8)
	{
		text *converted = try_text_from_utf8(out, n);

		if (converted != NULL)
			return converted;
		/* A URI's escapes stood for what the database cannot store. */
		n = address_write_opaque(utf8, len, out, verdict);
		*verdict = ADDRESS_MISSING;
		return text_from_utf8(out, n);
	}
	SET_VARSIZE(result, VARHDRSZ + n);
	return result;
}

bool
address_is_blank(const char *s, int len)
{
	const char *utf8;

	/* Most fields begin with a printable ASCII character. */
	if (len > 0 && *s > ' ' && *s < 0x7F)
		return false;
	utf8 = utf8_from_server(s, &len);
	return address_count_space(utf8, len) == (size_t) len;
}

static text *
normalize_text(AddressKind kind, bool keep_plus_tags, text *address)
{
	AddressVerdict verdict;

	return normalize(kind,
					 keep_plus_tags,
					 VARDATA_ANY(address),
					 VARSIZE_ANY_EXHDR(address),
					 &verdict);
}

static text *
normalize_for(const Channel *channel, text *address)
{
	return normalize_text(channel->address_kind,
						  channel->keep_plus_tags,
						  address);
}

/* The same key for both directions: the smaller address is first. */
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

/* By bytes: a key must not depend on the database's locale. */
int
address_compare(const text *a, const text *b)
{
	int alen = VARSIZE_ANY_EXHDR(a);
	int blen = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

/* The result has its exact size, because a list holds many of them. */
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
 * The text in UTF-8, and its length in bytes. Returns s itself if it needs no
 * conversion; then the result made from it needs none either.
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

/* NULL if the server's encoding lacks one of the characters. */
static text *
try_text_from_utf8(const char *s, int len)
{
	int encoding = GetDatabaseEncoding();
	Oid proc = FindDefaultConversionProc(PG_UTF8, encoding);
	unsigned char *converted;
	Size room;
	int i = 0;

	while (i < len && !IS_HIGHBIT_SET(s[i]))
		i++;
	if (i == len || encoding == PG_UTF8 || !OidIsValid(proc))
		return text_from_utf8(s, len);
	room = (Size) len * MAX_CONVERSION_GROWTH + 1;
	converted = palloc(room);
	if (pg_do_encoding_conversion_buf(proc,
									  PG_UTF8,
									  encoding,
									  (unsigned char *) unconstify(char *, s),
									  len,
									  converted,
									  room,
									  true) != len)
		return NULL;
	return cstring_to_text((char *) converted);
}

/*
 * search/terms.c: the terms of a message.
 *
 * Words are those of PostgreSQL's text search. Other terms begin with a control
 * character: FILTER_MARK what a search filters by, NUMBER_MARK three digits of
 * a number or characters of an address, RUN_MARK two characters of a script
 * without spaces. The parts of a number or a run have consecutive positions, so
 * that a phrase of them finds it exactly. Positions of a tsvector end at 16383,
 * and so does the search for parts.
 *
 * In C, because most of the time of indexing was spent here: in PL/pgSQL 220
 * instead of 25 microseconds for a message of twelve words and a number, and in
 * SQL twenty times as long for the addresses of a conversation.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/pg_list.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

#define FILTER_MARK '\x01'
#define NUMBER_MARK '\x02'
#define RUN_MARK '\x03'

/* Of a number: digits in a part, digits indexed, separators between two. */
#define PART_DIGITS 3
#define MOST_DIGITS 64
#define MOST_SEPARATORS 2

/* Of an address: characters in a part, characters indexed, and the position of
 * the second address. */
#define PART_CHARACTERS 3
#define ADDRESS_CHARACTERS 255
#define SECOND_ADDRESS 300

/* Characters of a run that are indexed. */
#define MOST_CHARACTERS 4000

/* Numbers, and runs after them, that begin behind these positions are not
 * indexed. */
#define LAST_NUMBER 4000
#define LAST_RUN 8000

/* Thai to Khmer, kana, ideographs. */
static const struct
{
	pg_wchar first;
	pg_wchar last;
} unspaced[] = {{0x0e00, 0x0eff},
				{0x1000, 0x109f},
				{0x1780, 0x17ff},
				{0x3040, 0x30ff},
				{0x3400, 0x4dbf},
				{0x4e00, 0x9fff},
				{0xf900, 0xfaff},
				{0x20000, 0x3ffff}};

static Datum filter_terms(FunctionCallInfo fcinfo);
static Datum filter_term(char kind, const char *value, int length);
static Datum words_of(Oid configuration, text *value);
static Datum concatenate(Datum a, Datum b);
static Datum part_terms(const text *title, const text *content);
static void put_numbers(StringInfo parts, const text *value, int *place);
static int read_number(const char *at, const char *end, char *digits, int *n);
static void put_runs(StringInfo parts, const text *value, int *place);
static void
put_run(StringInfo parts, const char *at, const char *end, int *place);
static void
put_address(StringInfo parts, Datum value, Oid collation, int position);
static void
put_quoted(StringInfo parts, const char *value, int length, int position);
static void put_part(StringInfo parts,
					 char mark,
					 const char *value,
					 int length,
					 int position);
static bool is_digit(char c);
static bool is_separator(char c);
static bool is_unspaced(const char *character);

PG_FUNCTION_INFO_V1(msgstore_terms_of);
PG_FUNCTION_INFO_V1(msgstore_part_terms);
PG_FUNCTION_INFO_V1(msgstore_address_terms);

/*
 * _terms_of(configuration, tenant_id, conversation_id, channel, direction,
 * title, content)
 */
Datum
msgstore_terms_of(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	text *title = PG_GETARG_TEXT_PP(5);
	text *content = PG_GETARG_TEXT_PP(6);
	Oid configuration = get_ts_config_oid(
		list_make2(makeString(pstrdup("pg_catalog")), makeString(name)),
		false);
	Datum terms = filter_terms(fcinfo);

	if (VARSIZE_ANY_EXHDR(title) > 0)
		terms = concatenate(terms,
							DirectFunctionCall2(tsvector_setweight,
												words_of(configuration, title),
												CharGetDatum('A')));
	terms = concatenate(terms, words_of(configuration, content));
	PG_RETURN_DATUM(concatenate(terms, part_terms(title, content)));
}

/* _part_terms(value) */
Datum
msgstore_part_terms(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(part_terms(NULL, PG_GETARG_TEXT_PP(0)));
}

/* _address_terms(a, b) */
Datum
msgstore_address_terms(PG_FUNCTION_ARGS)
{
	StringInfoData parts;

	initStringInfo(&parts);
	put_address(&parts, PG_GETARG_DATUM(0), PG_GET_COLLATION(), 0);
	put_address(&parts, PG_GETARG_DATUM(1), PG_GET_COLLATION(), SECOND_ADDRESS);
	return DirectFunctionCall1(tsvectorin, CStringGetDatum(parts.data));
}

static Datum
filter_terms(FunctionCallInfo fcinfo)
{
	text *tenant = PG_GETARG_TEXT_PP(1);
	char *conversation =
		DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(2)));
	text *channel = PG_GETARG_TEXT_PP(3);
	text *direction = PG_GETARG_TEXT_PP(4);
	Datum terms[4];

	terms[0] = filter_term('t', VARDATA_ANY(tenant), VARSIZE_ANY_EXHDR(tenant));
	terms[1] = filter_term('c', conversation, strlen(conversation));
	terms[2] =
		filter_term('h', VARDATA_ANY(channel), VARSIZE_ANY_EXHDR(channel));
	terms[3] =
		filter_term('d', VARDATA_ANY(direction), VARSIZE_ANY_EXHDR(direction));
	return DirectFunctionCall1(array_to_tsvector,
							   PointerGetDatum(construct_array(terms,
															   lengthof(terms),
															   TEXTOID,
															   -1,
															   false,
															   TYPALIGN_INT)));
}

static Datum
filter_term(char kind, const char *value, int length)
{
	text *term = palloc(VARHDRSZ + 2 + length);

	SET_VARSIZE(term, VARHDRSZ + 2 + length);
	VARDATA(term)[0] = FILTER_MARK;
	VARDATA(term)[1] = kind;
	memcpy(VARDATA(term) + 2, value, length);
	return PointerGetDatum(term);
}

static Datum
words_of(Oid configuration, text *value)
{
	return DirectFunctionCall2(to_tsvector_byid,
							   ObjectIdGetDatum(configuration),
							   PointerGetDatum(value));
}

static Datum
concatenate(Datum a, Datum b)
{
	return DirectFunctionCall2(tsvector_concat, a, b);
}

/* Of both texts, the numbers first. The title may be NULL. */
static Datum
part_terms(const text *title, const text *content)
{
	StringInfoData parts;
	int place = 0;

	initStringInfo(&parts);
	if (title != NULL)
		put_numbers(&parts, title, &place);
	put_numbers(&parts, content, &place);
	if (GetDatabaseEncoding() == PG_UTF8)
	{
		if (title != NULL)
			put_runs(&parts, title, &place);
		put_runs(&parts, content, &place);
	}
	return DirectFunctionCall1(tsvectorin, CStringGetDatum(parts.data));
}

static void
put_numbers(StringInfo parts, const text *value, int *place)
{
	const char *at = VARDATA_ANY(value);
	const char *end = at + VARSIZE_ANY_EXHDR(value);
	char digits[MOST_DIGITS];

	while (at < end && *place <= LAST_NUMBER)
	{
		int n = 0;
		int i;

		if (!is_digit(*at))
		{
			at++;
			continue;
		}
		at += read_number(at, end, digits, &n);
		if (n < PART_DIGITS)
			continue;
		for (i = 0; i <= n - PART_DIGITS; i++)
			put_part(parts,
					 NUMBER_MARK,
					 digits + i,
					 PART_DIGITS,
					 *place + i + 1);
		*place += n + 2;
	}
}

/* Returns the length of the number that begins here, and its first digits. */
static int
read_number(const char *at, const char *end, char *digits, int *n)
{
	const char *start = at;
	const char *next = at;

	while (next < end && is_digit(*next))
	{
		int separators = 0;

		if (*n < MOST_DIGITS)
			digits[(*n)++] = *next;
		at = next + 1;
		for (next = at;
			 next < end && separators < MOST_SEPARATORS && is_separator(*next);
			 next++)
			separators++;
	}
	return at - start;
}

static void
put_runs(StringInfo parts, const text *value, int *place)
{
	const char *at = VARDATA_ANY(value);
	const char *end = at + VARSIZE_ANY_EXHDR(value);
	const char *run = NULL;

	for (; at < end && *place <= LAST_RUN; at += pg_mblen(at))
	{
		if (is_unspaced(at))
		{
			if (run == NULL)
				run = at;
		}
		else if (run != NULL)
		{
			put_run(parts, run, at, place);
			run = NULL;
		}
	}
	if (run != NULL)
		put_run(parts, run, end, place);
}

/*
 * The last character is a part of its own, so that one character is found at
 * the end of a run, too.
 */
static void
put_run(StringInfo parts, const char *at, const char *end, int *place)
{
	const char *next = at + pg_mblen(at);
	int n = 1;

	if (next == end)
		put_part(parts, RUN_MARK, at, next - at, *place + n);
	while (next < end && n < MOST_CHARACTERS)
	{
		const char *after = next + pg_mblen(next);

		put_part(parts, RUN_MARK, at, after - at, *place + n);
		at = next;
		next = after;
		n++;
	}
	put_part(parts, RUN_MARK, at, next - at, *place + n + 1);
	*place += n + 3;
}

/* A shorter address is one part. */
static void
put_address(StringInfo parts, Datum value, Oid collation, int position)
{
	Datum start = DirectFunctionCall2(text_left,
									  value,
									  Int32GetDatum(ADDRESS_CHARACTERS));
	text *address =
		DatumGetTextPP(DirectFunctionCall1Coll(lower, collation, start));
	const char *at = VARDATA_ANY(address);
	const char *end = at + VARSIZE_ANY_EXHDR(address);
	const char *next = at;
	int n;

	for (n = 0; n < PART_CHARACTERS && next < end; n++)
		next += pg_mblen(next);
	put_quoted(parts, at, next - at, ++position);
	while (next < end)
	{
		at += pg_mblen(at);
		next += pg_mblen(next);
		put_quoted(parts, at, next - at, ++position);
	}
}

/* As put_part(), for a part that may have quotes and backslashes. */
static void
put_quoted(StringInfo parts, const char *value, int length, int position)
{
	int i;

	appendStringInfo(parts, " '%c", NUMBER_MARK);
	for (i = 0; i < length; i++)
	{
		if (value[i] == '\'' || value[i] == '\\')
			appendStringInfoChar(parts, value[i]);
		appendStringInfoChar(parts, value[i]);
	}
	appendStringInfo(parts, "':%d", position);
}

/* Appends a lexeme as tsvector reads it. No part has a quote or a backslash. */
static void
put_part(StringInfo parts,
		 char mark,
		 const char *value,
		 int length,
		 int position)
{
	appendStringInfo(parts, " '%c%.*s':%d", mark, length, value, position);
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_separator(char c)
{
	return c == ' ' || c == '(' || c == ')' || c == '.' || c == '-';
}

static bool
is_unspaced(const char *character)
{
	pg_wchar c;
	Size i;

	if (!IS_HIGHBIT_SET(*character))
		return false;
	c = utf8_to_unicode((const unsigned char *) character);
	for (i = 0; i < lengthof(unspaced); i++)
		if (c >= unspaced[i].first && c <= unspaced[i].last)
			return true;
	return false;
}

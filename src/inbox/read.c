/*
 * inbox/read.c: reads payloads from JSON text.
 *
 * The server's own conversion to jsonb refuses a byte order mark and characters
 * that it cannot store, with an SQLSTATE that tells a provider nothing. Here
 * msgstore.replace_invalid_text decides about such characters, and what is
 * wrong with the text is MS400.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "inbox/json_text.h"
#include "server/errors.h"
#include "server/settings.h"

static void check_text(char *text, size_t length);
static Datum parse(char *text);
static bool is_about_content(int sqlstate);

PG_FUNCTION_INFO_V1(msgstore_read_payload);

Datum
msgstore_read_payload(PG_FUNCTION_ARGS)
{
	text *given = PG_GETARG_TEXT_PP(0);
	size_t length = VARSIZE_ANY_EXHDR(given);
	size_t mark = 0;
	char *json;

	if (GetDatabaseEncoding() == PG_UTF8)
		mark = json_text_mark(VARDATA_ANY(given), length);
	length -= mark;
	json = pnstrdup(VARDATA_ANY(given) + mark, length);
	check_text(json, length);
	return parse(json);
}

/* Replaces what cannot be stored, or raises MS400. */
static void
check_text(char *text, size_t length)
{
	size_t at = 0;
	JsonTextFault fault;
	int position;

	if (msgstore_replace_invalid_text == INVALID_TEXT_REPLACE)
	{
		(void) json_text_replace(text,
								 length,
								 GetDatabaseEncoding() == PG_UTF8
									 ? JSON_TEXT_REPLACEMENT
									 : JSON_TEXT_QUESTION_MARK);
		return;
	}
	fault = json_text_find(text, length, &at);
	if (fault == JSON_TEXT_VALID)
		return;
	position = pg_mbstrlen_with_len(text, (int) at) + 1;
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_BAD_REQUEST),
		 fault == JSON_TEXT_NUL
			 ? errmsg("payload has the character \\u0000 at position %d",
					  position)
			 : errmsg("payload has half a surrogate pair (%.6s) at position %d",
					  text + at,
					  position),
		 errdetail("PostgreSQL cannot store this character."),
		 errhint(
			 "Remove the character, or set \"msgstore.replace_invalid_text\" to \"replace\".")));
}

/* With MS400 for what the server says about the text. */
static Datum
parse(char *text)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum result = (Datum) 0;

	PG_TRY();
	{
		result = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	}
	PG_CATCH();
	{
		ErrorData *error;

		if (!is_about_content(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		error->sqlerrcode = ERRCODE_MS_BAD_REQUEST;
		ReThrowError(error);
	}
	PG_END_TRY();
	return result;
}

/*
 * Invalid syntax, a number out of range, a character that the encoding of the
 * database does not have; nested too deeply, too many elements.
 */
static bool
is_about_content(int sqlstate)
{
	int class = ERRCODE_TO_CATEGORY(sqlstate);

	return class == ERRCODE_DATA_EXCEPTION ||
		   class == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

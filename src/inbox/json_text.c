/*
 * inbox/json_text.c: finds and replaces characters in JSON text that
 * PostgreSQL cannot store: U+0000 and halves of surrogate pairs.
 *
 * In JSON text they can only be written as escapes, and a backslash can only be
 * inside a string or a key. So the search goes from backslash to backslash,
 * with memchr(), and needs no parser: the server parses a text without faults
 * once. In text that is not JSON the search may find escapes outside of
 * strings; the parser refuses such text anyway.
 */
#include <string.h>

#include "inbox/json_text.h"

/* \uXXXX */
#define ESCAPE_LENGTH 6

static bool read_escape(const char *at, const char *end, unsigned *code);
static bool is_high(unsigned code);
static bool is_low(unsigned code);

size_t
json_text_mark(const char *text, size_t length)
{
	return length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

JsonTextFault
json_text_find(const char *text, size_t length, size_t *at)
{
	const char *end = text + length;
	const char *p = text + *at;
	unsigned code;
	unsigned next;

	while (p < end && (p = memchr(p, '\\', (size_t) (end - p))) != NULL)
	{
		if (!read_escape(p, end, &code))
		{
			/* also skips the second of two backslashes */
			p += 2;
			continue;
		}
		if (is_high(code) && read_escape(p + ESCAPE_LENGTH, end, &next) &&
			is_low(next))
		{
			p += 2 * ESCAPE_LENGTH;
			continue;
		}
		if (code == 0 || is_high(code) || is_low(code))
		{
			*at = (size_t) (p - text);
			return code == 0 ? JSON_TEXT_NUL : JSON_TEXT_SURROGATE;
		}
		p += ESCAPE_LENGTH;
	}
	return JSON_TEXT_VALID;
}

bool
json_text_replace(char *text, size_t length, const char *replacement)
{
	bool any = false;
	size_t at = 0;

	while (json_text_find(text, length, &at) != JSON_TEXT_VALID)
	{
		memcpy(text + at, replacement, ESCAPE_LENGTH);
		at += ESCAPE_LENGTH;
		any = true;
	}
	return any;
}

/* Whether a \u escape begins here; then sets its code. */
static bool
read_escape(const char *at, const char *end, unsigned *code)
{
	int i;

	*code = 0;
	if (end - at < ESCAPE_LENGTH || at[0] != '\\' || at[1] != 'u')
		return false;
	for (i = 2; i < ESCAPE_LENGTH; i++)
	{
		char c = at[i];

		if (c >= '0' && c <= '9')
			*code = *code * 16 + (unsigned) (c - '0');
		else if (c >= 'a' && c <= 'f')
			*code = *code * 16 + (unsigned) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			*code = *code * 16 + (unsigned) (c - 'A' + 10);
		else
			return false;
	}
	return true;
}

static bool
is_high(unsigned code)
{
	return code >= 0xd800 && code <= 0xdbff;
}

static bool
is_low(unsigned code)
{
	return code >= 0xdc00 && code <= 0xdfff;
}

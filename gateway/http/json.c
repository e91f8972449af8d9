/*
 * json.c: checks that a text is one JSON object that the database accepts.
 *
 * Bodies are inserted into a batch unchanged, next to those of other clients.
 * So each must be known to be complete and acceptable to the server's parser: a
 * body that the server refuses costs the whole batch a retry, and the server
 * quotes part of it in its log. cJSON cannot decide this: it accepts more than
 * the standard (raw control characters, invalid UTF-8) and less (no numbers of
 * more than 63 characters).
 */
#include <limits.h>
#include <string.h>

#include "http/json.h"
#include "text.h"

/* Not more than cJSON accepts, which reads the fields later. */
#define MAX_DEPTH 512

/*
 * The range of the server's numeric: the highest decimal place before the point
 * and the number of places after it. The server refuses larger exponents
 * without looking at the digits.
 */
#define NUMBER_PLACE_MAX 131071
#define NUMBER_SCALE_MAX 16383
#define NUMBER_EXPONENT_MAX (INT_MAX / 2)

typedef struct Scanner
{
	const char *at;
	const char *end;
	const char *why;
	bool invalid_text;
	char open[MAX_DEPTH]; /* '{' or '[' of every level */
	int depth;
} Scanner;

static bool scan_value(Scanner *scanner);
static bool scan_next(Scanner *scanner, bool *finished);
static bool scan_name(Scanner *scanner);
static bool scan_string(Scanner *scanner);
static bool scan_escape(Scanner *scanner);
static bool scan_hex4(Scanner *scanner, unsigned *code);
static bool scan_number(Scanner *scanner);
static bool scan_exponent(Scanner *scanner, long *exponent);
static long greatest_place(const char *digits, long whole, long fraction);
static bool scan_word(Scanner *scanner, const char *word);
static bool scan_digits(Scanner *scanner, long *count);
static void skip_space(Scanner *scanner);
static bool take(Scanner *scanner, char c);
static bool fail(Scanner *scanner, const char *why);
static bool fail_at(Scanner *scanner, const char *at, const char *why);
static size_t count_characters(const char *from, const char *to);

bool
json_is_object(const char *text, size_t length, JsonFault *fault)
{
	/* text may be NULL if there are no bytes. */
	Scanner scanner = {.at = text, .end = length > 0 ? text + length : text};
	bool finished = false;

	*fault = (JsonFault){0};
	skip_space(&scanner);
	if (scanner.at == scanner.end || *scanner.at != '{')
	{
		fault->why = "body is not a JSON object";
		return false;
	}
	/* No recursion: a deeply nested body must not exhaust the stack. */
	while (!finished)
	{
		if (!scan_value(&scanner) || !scan_next(&scanner, &finished))
		{
			fault->why = scanner.why != NULL ? scanner.why : "body is not JSON";
			fault->position = count_characters(text, scanner.at) + 1;
			fault->invalid_text = scanner.invalid_text;
			return false;
		}
	}
	skip_space(&scanner);
	if (scanner.at != scanner.end)
	{
		fault->why = "body has more than one JSON value";
		fault->position = count_characters(text, scanner.at) + 1;
		return false;
	}
	return true;
}

/* Reads a scalar, or enters objects and arrays up to their first value. */
static bool
scan_value(Scanner *scanner)
{
	skip_space(scanner);
	while (scanner->at < scanner->end &&
		   (*scanner->at == '{' || *scanner->at == '['))
	{
		char open = *scanner->at++;

		if (scanner->depth == MAX_DEPTH)
			return fail_at(scanner,
						   scanner->at - 1,
						   "body is nested too deeply");
		scanner->open[scanner->depth++] = open;
		skip_space(scanner);
		if (scanner->at < scanner->end &&
			*scanner->at == (open == '{' ? '}' : ']'))
			return true;
		if (open == '{' && !scan_name(scanner))
			return false;
		skip_space(scanner);
	}
	if (scanner->at == scanner->end)
		return fail(scanner, "body ends inside a JSON value");
	switch (*scanner->at)
	{
		case '"':
			return scan_string(scanner);
		case 't':
			return scan_word(scanner, "true");
		case 'f':
			return scan_word(scanner, "false");
		case 'n':
			return scan_word(scanner, "null");
		default:
			return scan_number(scanner);
	}
}

/* Leaves objects and arrays that end here, up to the next value or the end. */
static bool
scan_next(Scanner *scanner, bool *finished)
{
	for (;;)
	{
		char open = scanner->open[scanner->depth - 1];

		skip_space(scanner);
		if (take(scanner, ','))
			return open == '[' || scan_name(scanner);
		if (!take(scanner, open == '{' ? '}' : ']'))
			return scanner->at == scanner->end
					   ? fail(scanner, "body ends inside a JSON value")
					   : false;
		if (--scanner->depth == 0)
		{
			*finished = true;
			return true;
		}
	}
}

static bool
scan_name(Scanner *scanner)
{
	skip_space(scanner);
	if (scanner->at == scanner->end || *scanner->at != '"')
		return false;
	if (!scan_string(scanner))
		return false;
	skip_space(scanner);
	return take(scanner, ':');
}

static bool
scan_string(Scanner *scanner)
{
	scanner->at++;
	while (scanner->at < scanner->end)
	{
		size_t sequence;

		scanner->at += text_count_plain(scanner->at,
										(size_t) (scanner->end - scanner->at));
		if (take(scanner, '"'))
			return true;
		if (take(scanner, '\\'))
		{
			if (!scan_escape(scanner))
				return false;
			continue;
		}
		if (scanner->at == scanner->end)
			break;
		if ((unsigned char) *scanner->at < 0x20)
			return fail(scanner,
						"body has a control character inside a string");
		sequence =
			utf8_sequence(scanner->at, (size_t) (scanner->end - scanner->at));
		if (sequence == 0)
			return fail(scanner, "body is not UTF-8");
		scanner->at += sequence;
	}
	return fail(scanner, "body ends inside a JSON value");
}

static bool
scan_escape(Scanner *scanner)
{
	const char *start = scanner->at - 1;
	unsigned code;

	if (scanner->at == scanner->end)
		return fail(scanner, "body ends inside a JSON value");
	if (strchr("\"\\/bfnrt", *scanner->at) != NULL && *scanner->at != '\0')
	{
		scanner->at++;
		return true;
	}
	if (!take(scanner, 'u') || !scan_hex4(scanner, &code))
		return fail_at(scanner, start, "body has an invalid escape");
	/* PostgreSQL text can contain neither NUL nor a lone surrogate. */
	scanner->invalid_text = true;
	if (code == 0)
		return fail_at(scanner, start, "body has the character \\u0000");
	if (code >= 0xd800 && code <= 0xdbff)
	{
		if (!take(scanner, '\\') || !take(scanner, 'u') ||
			!scan_hex4(scanner, &code) || code < 0xdc00 || code > 0xdfff)
			return fail_at(scanner, start, "body has half a surrogate pair");
	}
	else if (code >= 0xdc00 && code <= 0xdfff)
		return fail_at(scanner, start, "body has half a surrogate pair");
	scanner->invalid_text = false;
	return true;
}

static bool
scan_hex4(Scanner *scanner, unsigned *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++)
	{
		char c;

		if (scanner->at == scanner->end)
			return false;
		c = *scanner->at++;
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
scan_number(Scanner *scanner)
{
	const char *start = scanner->at;
	const char *digits;
	long whole = 1;
	long fraction = 0;
	long exponent = 0;
	long place;

	take(scanner, '-');
	digits = scanner->at;
	if (!take(scanner, '0') && !scan_digits(scanner, &whole))
		return false;
	if (take(scanner, '.') && !scan_digits(scanner, &fraction))
		return false;
	place = greatest_place(digits, whole, fraction);
	if ((take(scanner, 'e') || take(scanner, 'E')) &&
		!scan_exponent(scanner, &exponent))
		return false;
	if (exponent >= NUMBER_EXPONENT_MAX || exponent <= -NUMBER_EXPONENT_MAX ||
		fraction - exponent > NUMBER_SCALE_MAX ||
		(place > LONG_MIN && place + exponent > NUMBER_PLACE_MAX))
		return fail_at(scanner, start, "body has a number that is too long");
	return true;
}

/* Larger exponents become NUMBER_EXPONENT_MAX. */
static bool
scan_exponent(Scanner *scanner, long *exponent)
{
	bool negative = take(scanner, '-');
	const char *digit;
	long count;

	if (!negative)
		take(scanner, '+');
	digit = scanner->at;
	if (!scan_digits(scanner, &count))
		return false;
	for (; digit < scanner->at && *exponent < NUMBER_EXPONENT_MAX; digit++)
		*exponent = *exponent * 10 + (*digit - '0');
	if (*exponent > NUMBER_EXPONENT_MAX)
		*exponent = NUMBER_EXPONENT_MAX;
	if (negative)
		*exponent = -*exponent;
	return true;
}

/* The decimal place of the first nonzero digit: 0 is ones, LONG_MIN: none. */
static long
greatest_place(const char *digits, long whole, long fraction)
{
	for (long i = 0; i < whole + fraction; i++)
	{
		if (digits[i < whole ? i : i + 1] != '0')
			return whole - 1 - i;
	}
	return LONG_MIN;
}

static bool
scan_digits(Scanner *scanner, long *count)
{
	const char *start = scanner->at;

	while (scanner->at < scanner->end && *scanner->at >= '0' &&
		   *scanner->at <= '9')
		scanner->at++;
	*count = scanner->at - start;
	return *count > 0;
}

static bool
scan_word(Scanner *scanner, const char *word)
{
	size_t length = strlen(word);

	if ((size_t) (scanner->end - scanner->at) < length ||
		memcmp(scanner->at, word, length) != 0)
		return false;
	scanner->at += length;
	return true;
}

static void
skip_space(Scanner *scanner)
{
	while (scanner->at < scanner->end &&
		   (*scanner->at == ' ' || *scanner->at == '\t' ||
			*scanner->at == '\n' || *scanner->at == '\r'))
		scanner->at++;
}

static bool
take(Scanner *scanner, char c)
{
	if (scanner->at == scanner->end || *scanner->at != c)
		return false;
	scanner->at++;
	return true;
}

static bool
fail(Scanner *scanner, const char *why)
{
	scanner->why = why;
	return false;
}

static bool
fail_at(Scanner *scanner, const char *at, const char *why)
{
	scanner->at = at;
	return fail(scanner, why);
}

static size_t
count_characters(const char *from, const char *to)
{
	size_t count = 0;

	/* All bytes of a UTF-8 sequence but the first one begin with 10. */
	for (; from < to; from++)
		count += ((unsigned char) *from & 0xc0) != 0x80;
	return count;
}

/*
 * backend_timestamp.c: read timestamps, and compare with the server.
 *
 * The inbox accepts a small part of what the server's own input function
 * accepts, and both must read the same instant: within a microsecond, because
 * the server rounds what the inbox truncates. Leap seconds are not compared:
 * the server rejects a fraction in the last second of a day. An accepted
 * instant is printed with a year of four digits.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "backend.h"
#include "inbox/timestamp.h"

/* The longest text that is compared: the server limits the digits. */
#define COMPARED_BYTES_MAX 40

static bool has_four_digit_year(TimestampTz instant);
static TimestampTz read_as_server(char *text);

void
backend_timestamp(const char *data, size_t size)
{
	char *copy = malloc(size);
	char *text = backend_take_text(data, size);
	TimestampTz instant = 0;
	bool taken;

	/* A copy of exactly its size, without a terminating NUL. */
	memcpy(copy, data, size);
	taken = inbox_parse_timestamp(copy, (int) size, &instant);
	free(copy);
	if (!taken)
		return;
	PROMISE(text != NULL);
	PROMISE(IS_VALID_TIMESTAMP(instant));
	PROMISE(has_four_digit_year(instant));
	if (size <= COMPARED_BYTES_MAX && strstr(text, ":60") == NULL)
	{
		TimestampTz difference = read_as_server(text) - instant;

		PROMISE(difference == 0 || difference == 1);
	}
}

static bool
has_four_digit_year(TimestampTz instant)
{
	struct pg_tm tm;
	fsec_t fraction;

	PROMISE(timestamp2tm(instant, NULL, &tm, &fraction, NULL, NULL) == 0);
	return tm.tm_year >= 1 && tm.tm_year <= 9999;
}

/* ISO 8601 allows a comma before the fraction, the server does not. */
static TimestampTz
read_as_server(char *text)
{
	char *comma = strchr(text, ',');

	if (comma != NULL)
		*comma = '.';
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(text),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

/*
 * backend_timestamp.c: instants as webhooks write them, and as the server
 * reads them.
 *
 * What the inbox takes is a small part of what the server's own input function
 * takes, and must be the same instant to both: within a microsecond, because
 * the server rounds what the inbox cuts. Leap seconds are left out: the server
 * takes none that is the last of a day and has a fraction.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "backend.h"
#include "inbox/timestamp.h"

/* The longest that is compared: the server takes no more digits than so. */
#define COMPARED_BYTES_MAX 40

static TimestampTz read_as_server(char *text);

void
backend_timestamp(const char *data, size_t size)
{
	char *copy = malloc(size);
	char *text = backend_take_text(data, size);
	TimestampTz instant = 0;
	bool taken;

	/* Of its own size, with no NUL at the end. */
	memcpy(copy, data, size);
	taken = inbox_parse_timestamp(copy, (int) size, &instant);
	free(copy);
	if (!taken)
		return;
	PROMISE(text != NULL);
	PROMISE(IS_VALID_TIMESTAMP(instant));
	if (size <= COMPARED_BYTES_MAX && strstr(text, ":60") == NULL)
	{
		TimestampTz difference = read_as_server(text) - instant;

		PROMISE(difference == 0 || difference == 1);
	}
}

/* A comma before the fraction is ISO's, and not the server's. */
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

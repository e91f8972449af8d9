/*
 * stream.c: any bytes from a client: what civetweb gets does not depend on how
 * they arrive, is never longer, and would not be changed again.
 *
 * The first byte of the input determines the sizes of the pieces.
 */
#include <string.h>

#include "http/stream.h"
#include "fuzz.h"

static bool gave_up(const Stream *stream);
static char *rewrite(const char *bytes,
					 size_t size,
					 size_t piece,
					 size_t *out,
					 Stream *stream);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Stream whole;
	Stream parts;
	Stream again;
	size_t lengths[3];
	char *first;
	char *second;
	char *third;

	if (size < 2)
		return 0;
	first =
		rewrite((const char *) data + 1, size - 1, size, &lengths[0], &whole);
	second = rewrite((const char *) data + 1,
					 size - 1,
					 data[0] % 16 + 1,
					 &lengths[1],
					 &parts);
	third = rewrite(first, lengths[0], size, &lengths[2], &again);
	PROMISE(lengths[0] <= size - 1);
	PROMISE(lengths[0] == lengths[1]);
	PROMISE(memcmp(first, second, lengths[0]) == 0);
	PROMISE(whole.messages == parts.messages && whole.held == parts.held);
	if (!gave_up(&whole))
		PROMISE(lengths[2] == lengths[0] &&
				memcmp(first, third, lengths[0]) == 0);
	free(first);
	free(second);
	free(third);
	return 0;
}

/* From a request on that civetweb refuses, nothing is changed. */
static bool
gave_up(const Stream *stream)
{
	Stream other = {0};
	char byte = '\n';

	stream_rewrite(&other, &byte, &byte, 1);
	return stream->state == other.state;
}

/* As wire.c does, with a buffer of its own for each piece. */
static char *
rewrite(const char *bytes,
		size_t size,
		size_t piece,
		size_t *out,
		Stream *stream)
{
	char *result = malloc(size + 1);

	memset(stream, 0, sizeof(*stream));
	*out = 0;
	while (size > 0)
	{
		size_t part = size < piece ? size : piece;
		size_t room = stream->held ? 1 : 0;
		char *buffer = malloc(room + part);
		size_t got;

		memcpy(buffer + room, bytes, part);
		got = stream_rewrite(stream, buffer, buffer + room, part);
		PROMISE(got <= room + part);
		memcpy(result + *out, buffer, got);
		*out += got;
		free(buffer);
		bytes += part;
		size -= part;
	}
	return result;
}

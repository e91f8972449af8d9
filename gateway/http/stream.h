/*
 * stream.h: rewrites the bytes of requests before civetweb reads them.
 */
#ifndef STREAM_H
#define STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_LINE_MAX 64

/* What one connection has received; all zeros at its start. */
typedef struct Stream
{
	int state;
	bool held; /* a byte was left out, and may have to be made up for */
	char line[STREAM_LINE_MAX]; /* the beginning of the current header line */
	size_t line_length;
	bool carriage;		/* a carriage return was last */
	const char *scheme; /* what has to follow */
	bool chunked;
	int64_t length;	   /* of the body; -1: no such header */
	uint64_t left;	   /* bytes of the body or of the chunk */
	int digits;		   /* of the size of the chunk */
	size_t removed;	   /* bytes of extensions and trailers of this message */
	uint64_t messages; /* that have ended */
} Stream;

/*
 * Rewrites bytes from "in" to "out" and returns their new number. The two can
 * overlap if out is not above in; while stream->held is set, out must have one
 * byte more room, and be below in.
 */
size_t stream_rewrite(Stream *stream, char *out, const char *in, size_t length);

#endif /* STREAM_H */

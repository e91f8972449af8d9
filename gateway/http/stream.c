/*
 * stream.c: rewrites the bytes of requests before civetweb reads them.
 *
 * Of what RFC 9112 lets a client send, civetweb 1.15 closes the connection
 * without an answer at an absolute URI or at "*" as the request target, refuses
 * extensions of chunks, and does not find the next request behind a trailer;
 * later versions differ. So all of it is taken out here, byte by byte as it
 * arrives: scheme and host become blanks, extensions and trailers vanish, and
 * every version sees the same simple request.
 *
 * Only requests that are certain to be read in the same way by civetweb are
 * followed to their end. At anything else, for example two lengths, nothing is
 * changed any more on this connection: civetweb or request.c refuses the
 * request and closes it. A byte is replaced by "!" to make civetweb refuse what
 * it would accept or drop.
 */
#include <string.h>
#include <strings.h>

#include "http/stream.h"

/* As for a head: nobody sends more, and it costs time. */
#define REMOVED_MAX 8192

/* Sizes and lengths of more digits are left to civetweb. */
#define SIZE_DIGITS_MAX 15
#define LENGTH_DIGITS_MAX 18

enum
{
	AT_START,
	IN_METHOD,
	AT_TARGET,
	BEHIND_ASTERISK,
	IN_SCHEME,
	AT_AUTHORITY,
	IN_AUTHORITY,
	IN_FIRST_LINE,
	IN_HEADER,
	IN_BODY,
	IN_CHUNK_SIZE,
	BEHIND_CHUNK_SIZE, /* blanks before an extension */
	IN_EXTENSION,
	AT_CHUNK_LINE_END,
	IN_CHUNK,
	BEHIND_CHUNK,
	AT_CHUNK_END,
	AT_TRAILER,
	IN_TRAILER,
	AT_TRAILER_LINE_END,
	AT_END,
	UNCHANGED /* to the end of the connection */
};

static const char plain_scheme[] = "http://";
static const char secure_scheme[] = "https://";

/* Where the next byte goes. */
typedef struct Output
{
	char *at;
} Output;

static size_t take_run(Stream *stream, const char *in, size_t length);
static void take_byte(Stream *stream, Output *out, char c);
static void take_in_line(Stream *stream, Output *out, char c);
static void take_in_target(Stream *stream, Output *out, char c);
static void take_in_chunk_line(Stream *stream, Output *out, char c);
static void take_in_trailer(Stream *stream, Output *out, char c);
static void end_line(Stream *stream);
static void end_head(Stream *stream);
static void end_message(Stream *stream);
static bool read_length(Stream *stream, const char *value);
static void pass(Stream *stream, Output *out, char c, int state);
static void drop(Stream *stream, Output *out, int state);
static void spoil(Stream *stream, Output *out);
static int hex_value(char c);
static char lower(char c);
static bool is_text(char c);

size_t
stream_rewrite(Stream *stream, char *out, const char *in, size_t length)
{
	const char *end = in + length;
	Output output = {out};

	while (in < end)
	{
		size_t run = take_run(stream, in, (size_t) (end - in));

		if (run == 0)
		{
			take_byte(stream, &output, *in++);
			continue;
		}
		if (output.at != in)
			memmove(output.at, in, run);
		output.at += run;
		in += run;
	}
	return (size_t) (output.at - out);
}

/* How many of the bytes need no look at each: most of them. */
static size_t
take_run(Stream *stream, const char *in, size_t length)
{
	size_t run = length;

	if (stream->state == IN_FIRST_LINE || stream->state == IN_HEADER)
	{
		const char *end = memchr(in, '\n', length);
		size_t room = STREAM_LINE_MAX - 1 - stream->line_length;

		if (end != NULL)
			run = (size_t) (end - in);
		end = memchr(in, '\r', run);
		if (end != NULL)
			run = (size_t) (end - in);
		if (stream->carriage || run == 0)
			return 0;
		room = run < room ? run : room;
		memcpy(stream->line + stream->line_length, in, room);
		stream->line_length += room;
	}
	else if (stream->state == IN_BODY || stream->state == IN_CHUNK)
	{
		if (stream->left < length)
			run = (size_t) stream->left;
		stream->left -= run;
		if (stream->left == 0 && stream->state == IN_BODY)
			end_message(stream);
		else if (stream->left == 0)
			stream->state = BEHIND_CHUNK;
	}
	else if (stream->state != UNCHANGED)
		run = 0;
	return run;
}

static void
take_byte(Stream *stream, Output *out, char c)
{
	switch (stream->state)
	{
		case AT_START:
			stream->length = -1;
			stream->chunked = false;
			stream->removed = 0;
			/* civetweb skips blanks here, then closes. */
			pass(stream,
				 out,
				 c,
				 is_text(c) && c != ' ' ? IN_METHOD : UNCHANGED);
			break;
		case IN_METHOD:
			pass(stream,
				 out,
				 c,
				 c == ' '	  ? AT_TARGET
				 : is_text(c) ? IN_METHOD
							  : UNCHANGED);
			break;
		case AT_TARGET:
		case BEHIND_ASTERISK:
		case IN_SCHEME:
		case AT_AUTHORITY:
		case IN_AUTHORITY:
			take_in_target(stream, out, c);
			break;
		case IN_FIRST_LINE:
		case IN_HEADER:
			take_in_line(stream, out, c);
			break;
		case BEHIND_CHUNK:
			pass(stream, out, c, c == '\r' ? AT_CHUNK_END : UNCHANGED);
			break;
		case AT_CHUNK_END:
			stream->digits = 0;
			stream->left = 0;
			pass(stream, out, c, c == '\n' ? IN_CHUNK_SIZE : UNCHANGED);
			break;
		case AT_TRAILER:
		case IN_TRAILER:
		case AT_TRAILER_LINE_END:
			take_in_trailer(stream, out, c);
			break;
		case AT_END:
			pass(stream, out, c, UNCHANGED);
			if (c == '\n')
				end_message(stream);
			break;
		default:
			take_in_chunk_line(stream, out, c);
	}
}

/* Scheme and host become blanks, which civetweb skips; an empty path is "/". */
static void
take_in_target(Stream *stream, Output *out, char c)
{
	/* The end of the line stays, or civetweb would wait for it. */
	if (c == '\r' || c == '\n')
		pass(stream, out, c, UNCHANGED);
	else if (stream->state == AT_TARGET && c == ' ')
		pass(stream, out, c, AT_TARGET);
	else if (stream->state == AT_TARGET && lower(c) == 'h')
	{
		stream->scheme = plain_scheme + 1;
		pass(stream, out, ' ', IN_SCHEME);
	}
	else if (stream->state == AT_TARGET && c == '*')
	{
		stream->held = true;
		stream->state = BEHIND_ASTERISK;
	}
	else if (stream->state == AT_TARGET && lower(c) >= 'a' && lower(c) <= 'z')
		spoil(stream, out);
	else if (stream->state == AT_TARGET)
		pass(stream, out, c, IN_FIRST_LINE);
	else if (stream->state == IN_SCHEME && lower(c) == 's' &&
			 stream->scheme == plain_scheme + 4)
	{
		stream->scheme = secure_scheme + 5;
		pass(stream, out, ' ', IN_SCHEME);
	}
	else if (stream->state == IN_SCHEME && lower(c) == *stream->scheme)
	{
		stream->scheme++;
		pass(stream,
			 out,
			 ' ',
			 *stream->scheme != '\0' ? IN_SCHEME : AT_AUTHORITY);
	}
	else if (stream->state == AT_AUTHORITY && is_text(c) &&
			 strchr("/?# ", c) == NULL)
	{
		stream->held = true;
		stream->state = IN_AUTHORITY;
	}
	else if (stream->state == IN_AUTHORITY && c == '/')
		pass(stream, out, c, IN_FIRST_LINE);
	else if (stream->state == IN_AUTHORITY && is_text(c) &&
			 strchr("?# ", c) == NULL)
		*out->at++ = ' ';
	else if ((stream->state == IN_AUTHORITY && (c == '?' || c == ' ')) ||
			 (stream->state == BEHIND_ASTERISK && c == ' '))
	{
		*out->at++ = '/';
		pass(stream, out, c, IN_FIRST_LINE);
	}
	else
		spoil(stream, out);
	if (stream->state != BEHIND_ASTERISK && stream->state != IN_AUTHORITY)
		stream->held = false;
}

/*
 * The ends of the first line and of header lines, and what is behind a carriage
 * return. Nothing is changed.
 */
static void
take_in_line(Stream *stream, Output *out, char c)
{
	*out->at++ = c;
	if (stream->carriage != (c == '\n'))
		stream->state = UNCHANGED;
	else if (c == '\n')
		end_line(stream);
	stream->carriage = c == '\r';
}

static void
end_line(Stream *stream)
{
	size_t length = stream->line_length;
	char *line = stream->line;
	char *colon;
	char *value;

	stream->line_length = 0;
	if (stream->state == IN_FIRST_LINE)
	{
		stream->state = IN_HEADER;
		return;
	}
	if (length == 0)
	{
		end_head(stream);
		return;
	}
	line[length] = '\0';
	colon = strchr(line, ':');
	value = colon != NULL ? colon + 1 + strspn(colon + 1, " \t") : line;
	if (strcspn(line, " \t") < (colon != NULL ? (size_t) (colon - line) : 1))
		stream->state = UNCHANGED;
	else if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
	{
		if (stream->chunked || strcasecmp(value, "chunked") != 0)
			stream->state = UNCHANGED;
		stream->chunked = true;
	}
	else if (strncasecmp(line, "Content-Length:", 15) == 0 &&
			 !read_length(stream, value))
		stream->state = UNCHANGED;
}

static bool
read_length(Stream *stream, const char *value)
{
	size_t digits = strspn(value, "0123456789");

	if (stream->length >= 0 || digits == 0 || digits > LENGTH_DIGITS_MAX ||
		value[digits] != '\0')
		return false;
	stream->length = 0;
	for (; *value != '\0'; value++)
		stream->length = stream->length * 10 + (*value - '0');
	return true;
}

static void
end_head(Stream *stream)
{
	if (stream->chunked && stream->length >= 0)
		stream->state = UNCHANGED;
	else if (stream->chunked)
	{
		stream->digits = 0;
		stream->left = 0;
		stream->state = IN_CHUNK_SIZE;
	}
	else if (stream->length > 0)
	{
		stream->left = (uint64_t) stream->length;
		stream->state = IN_BODY;
	}
	else
		end_message(stream);
}

static void
end_message(Stream *stream)
{
	stream->messages++;
	stream->state = AT_START;
}

/* size [ *( BWS ";" ... ) ] CRLF: what is behind the size is left out. */
static void
take_in_chunk_line(Stream *stream, Output *out, char c)
{
	int value = hex_value(c);

	if (stream->state == AT_CHUNK_LINE_END)
		pass(stream,
			 out,
			 c,
			 c != '\n'			? UNCHANGED
			 : stream->left > 0 ? IN_CHUNK
								: AT_TRAILER);
	else if (stream->state == IN_CHUNK_SIZE && value >= 0)
	{
		stream->left = stream->left * 16 + (unsigned) value;
		pass(stream,
			 out,
			 c,
			 ++stream->digits > SIZE_DIGITS_MAX ? UNCHANGED : IN_CHUNK_SIZE);
	}
	else if (stream->digits == 0)
		pass(stream, out, c, UNCHANGED);
	else if (c == '\r' && stream->state != BEHIND_CHUNK_SIZE)
		pass(stream, out, c, AT_CHUNK_LINE_END);
	else if (c == ';' && stream->state != IN_EXTENSION)
		drop(stream, out, IN_EXTENSION);
	else if (stream->state != IN_EXTENSION && (c == ' ' || c == '\t'))
		drop(stream, out, BEHIND_CHUNK_SIZE);
	else if (stream->state == IN_EXTENSION && (is_text(c) || c == '\t'))
		drop(stream, out, IN_EXTENSION);
	else
		spoil(stream, out);
}

/* Header lines behind the last chunk, left out; then the line end of the body.
 */
static void
take_in_trailer(Stream *stream, Output *out, char c)
{
	if (stream->state == AT_TRAILER && c == '\r')
		pass(stream, out, c, AT_END);
	else if (stream->state == AT_TRAILER && c != ' ' && is_text(c))
		drop(stream, out, IN_TRAILER);
	else if (stream->state == IN_TRAILER && c == '\r')
		drop(stream, out, AT_TRAILER_LINE_END);
	else if (stream->state == IN_TRAILER && (is_text(c) || c == '\t'))
		drop(stream, out, IN_TRAILER);
	else if (stream->state == AT_TRAILER_LINE_END && c == '\n')
		drop(stream, out, AT_TRAILER);
	else
		spoil(stream, out);
}

static void
pass(Stream *stream, Output *out, char c, int state)
{
	*out->at++ = c;
	stream->state = state;
}

static void
drop(Stream *stream, Output *out, int state)
{
	if (++stream->removed > REMOVED_MAX)
		spoil(stream, out);
	else
		stream->state = state;
}

static void
spoil(Stream *stream, Output *out)
{
	pass(stream, out, '!', UNCHANGED);
}

static int
hex_value(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *found = c != '\0' ? strchr(digits, c) : NULL;

	return found != NULL ? (int) ((found - digits) % 16) : -1;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* No control character. */
static bool
is_text(char c)
{
	return (unsigned char) c >= ' ' && c != 0x7f;
}

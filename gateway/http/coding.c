/*
 * coding.c: bodies that were compressed for transport (Content-Encoding).
 *
 * The limit applies to what was sent and again to its content, which is decoded
 * only as far as that: a small body that would expand to gigabytes uses no more
 * memory than any other. gzip and deflate are the codings that senders of JSON
 * use; a body that was coded twice is refused, as is any other coding.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <zlib.h>

#include "http/coding.h"
#include "http/reply.h"
#include "text.h"

#define PART_BYTES 16384

typedef enum Coding
{
	CODING_NONE,
	CODING_GZIP,
	CODING_DEFLATE,
	CODING_OTHER
} Coding;

static Coding
find_coding(const Request *request, const char **name, size_t *length);
static Coding read_name(const char *name, size_t length);
static int
inflate_body(z_stream *stream, const Text *body, size_t limit, Text *content);

bool
coding_check(Request *request)
{
	const char *name = "";
	size_t length = 0;
	char message[128];

	if (find_coding(request, &name, &length) != CODING_OTHER)
		return true;
	snprintf(message,
			 sizeof(message),
			 "content coding \"%.*s\" is not supported",
			 length < 64 ? (int) length : 64,
			 name);
	reply_error_detail(
		request,
		415,
		message,
		"A body may be sent as it is, or with one of the content "
		"codings \"gzip\" and \"deflate\".");
	request->reply.codings = "gzip, deflate";
	return false;
}

bool
coding_decode(Request *request, size_t limit)
{
	const char *name;
	size_t length;
	Coding coding = find_coding(request, &name, &length);
	z_stream stream = {0};
	Text content = {0};
	int result;

	if (coding == CODING_NONE)
		return true;
	/* 16 more bits of the window mean the format of gzip, not of zlib. */
	result = inflateInit2(&stream,
						  coding == CODING_GZIP ? MAX_WBITS + 16 : MAX_WBITS);
	if (result == Z_OK)
	{
		result = inflate_body(&stream, &request->body, limit, &content);
		inflateEnd(&stream);
	}
	if (result == Z_MEM_ERROR || content.failed)
		reply_unavailable(request, "out of memory", 1);
	else if (content.length > limit)
		reply_too_large(request, limit);
	else if (result != Z_STREAM_END)
		reply_error(request,
					400,
					coding == CODING_GZIP ? "body is not valid gzip"
										  : "body is not valid deflate");
	else
	{
		text_free(&request->body);
		request->body = content;
		return true;
	}
	text_free(&content);
	return false;
}

/*
 * The coding of the body. "identity" means none; of an unsupported coding, or
 * of several, the name is the whole line.
 */
static Coding
find_coding(const Request *request, const char **name, size_t *length)
{
	Coding found = CODING_NONE;

	for (int i = 0; i < request->info->num_headers; i++)
	{
		const char *at = request->info->http_headers[i].value;

		if (strcasecmp(request->info->http_headers[i].name,
					   "Content-Encoding") != 0)
			continue;
		*name = at;
		*length = strlen(at);
		while (*at != '\0')
		{
			size_t size = strcspn(at, ", \t");
			Coding coding = read_name(at, size);

			if (coding != CODING_NONE)
				found = found == CODING_NONE ? coding : CODING_OTHER;
			if (found == CODING_OTHER)
				return found;
			at += size;
			at += strspn(at, ", \t");
		}
	}
	return found;
}

static Coding
read_name(const char *name, size_t length)
{
	static const struct
	{
		const char *name;
		Coding coding;
	} known[] = {
		{"", CODING_NONE},
		{"identity", CODING_NONE},
		{"gzip", CODING_GZIP},
		{"x-gzip", CODING_GZIP},
		{"deflate", CODING_DEFLATE},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (strlen(known[i].name) == length &&
			strncasecmp(name, known[i].name, length) == 0)
			return known[i].coding;
	}
	return CODING_OTHER;
}

/*
 * Returns Z_STREAM_END if the whole body was decoded, and stops behind the
 * limit. A gzip file can consist of several parts, one after the other.
 */
static int
inflate_body(z_stream *stream, const Text *body, size_t limit, Text *content)
{
	unsigned char part[PART_BYTES];
	int result = Z_OK;

	stream->next_in = (unsigned char *) body->data;
	stream->avail_in = (unsigned) body->length;
	while (result == Z_OK && content->length <= limit && !content->failed)
	{
		stream->next_out = part;
		stream->avail_out = sizeof(part);
		result = inflate(stream, Z_NO_FLUSH);
		text_add(content,
				 (const char *) part,
				 sizeof(part) - stream->avail_out);
		if (result == Z_STREAM_END && stream->avail_in > 0)
			result = inflateReset(stream);
	}
	return result;
}

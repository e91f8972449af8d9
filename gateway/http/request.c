/*
 * request.c: what a handler sees of an HTTP request.
 *
 * Everything from the client is bounded here, once: the body, the ids that
 * are taken over from headers, the parts of path and query. What is wrong in
 * the content is not looked for; the database says that.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include <cjson/cJSON.h>

#include "clock.h"
#include "http/json.h"
#include "http/reply.h"
#include "http/request.h"

#define READ_BYTES 16384

static bool has_whole_lines(const struct mg_request_info *info);
static void read_request_id(Request *request);
static void make_uuid(char *out);
static void read_traceparent(Request *request);
static void read_client(Request *request);
static bool is_loopback(const char *address);
static bool copy_address(const char *value, char *out, size_t size);
static bool declares_body(const Request *request);
static bool read_parts(Request *request, size_t limit);
static void scan_accept(const char *value,
						const char *type,
						int *specificity,
						int *quality);
static int
range_specificity(const char *range, size_t length, const char *type);
static int range_quality(const char *parameters, size_t length);
static bool saturate_number(const char *text, int *number);

void
request_open(Request *request, Gateway *gateway, struct mg_connection *conn)
{
	memset(request, 0, sizeof(*request));
	request->gateway = gateway;
	request->conn = conn;
	request->info = mg_get_request_info(conn);
	request->started_us = clock_us();
	/*
	 * As it was sent: in local_uri /public/../metrics has become /metrics, and
	 * whoever stands in front and looks at paths would have let it through.
	 */
	request->path =
		request->info->request_uri != NULL ? request->info->request_uri : "";
	request->body_read = !declares_body(request);
	read_request_id(request);
	read_traceparent(request);
	read_client(request);
}

void
request_close(Request *request)
{
	text_free(&request->body);
	text_free(&request->reply.body);
}

const char *
request_header(const Request *request, const char *name)
{
	for (int i = 0; i < request->info->num_headers; i++)
	{
		if (strcasecmp(request->info->http_headers[i].name, name) == 0)
			return request->info->http_headers[i].value;
	}
	return NULL;
}

bool
request_is_head(const Request *request)
{
	const char *method = request->info->request_method;

	return method != NULL && strcmp(method, "HEAD") == 0;
}

/*
 * Two readers that disagree about where a request ends see different requests
 * on one connection. civetweb takes the first of several lengths, prefers
 * chunked to a length, takes any other coding for none and leaves out headers
 * beyond its maximum.
 */
bool
request_is_ambiguous(const Request *request)
{
	int hosts = 0;
	int lengths = 0;
	int codings = 0;

	for (int i = 0; i < request->info->num_headers; i++)
	{
		const char *name = request->info->http_headers[i].name;
		const char *value = request->info->http_headers[i].value;

		if (strcasecmp(name, "Content-Length") == 0)
		{
			lengths++;
			if (*value == '\0' || strspn(value, "0123456789") != strlen(value))
				return true;
		}
		else if (strcasecmp(name, "Transfer-Encoding") == 0)
		{
			codings++;
			if (strcasecmp(value, "chunked") != 0)
				return true;
		}
		else if (strcasecmp(name, "Host") == 0)
			hosts++;
	}
	return lengths + codings > 1 || hosts > 1 ||
		   request->info->num_headers >= MG_MAX_HEADERS ||
		   !has_whole_lines(request->info);
}

bool
request_has_json_type(const Request *request)
{
	const char *type = request_header(request, "Content-Type");
	size_t length;

	if (type == NULL)
		return false;
	length = strcspn(type, "; \t");
	return length == strlen("application/json") &&
		   strncasecmp(type, "application/json", length) == 0;
}

int
request_accepts(const Request *request, const char *type, bool *exact)
{
	int specificity = 0;
	int quality = 0;
	bool given = false;

	for (int i = 0; i < request->info->num_headers; i++)
	{
		const char *value = request->info->http_headers[i].value;

		if (strcasecmp(request->info->http_headers[i].name, "Accept") == 0 &&
			value[strspn(value, " \t")] != '\0')
		{
			given = true;
			scan_accept(value, type, &specificity, &quality);
		}
	}
	*exact = specificity == 3;
	return given ? quality : 1000;
}

bool
request_read_body(Request *request)
{
	size_t limit = (size_t) request->gateway->config.max_body_bytes;
	const char *expect = request_header(request, "Expect");
	bool complete;

	if (request->body_read)
		return true;
	if (request->info->content_length > (long long) limit)
	{
		reply_error(request, 413, "body is too large");
		return false;
	}
	if (expect != NULL && strcasecmp(expect, "100-continue") == 0)
		mg_write(request->conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	server_watch(request->conn,
				 WATCH_READING,
				 request->gateway->config.request_timeout * SECOND_US);
	complete = read_parts(request, limit);
	if (server_unwatch(request->conn))
		reply_error(request, 408, "body did not arrive in time");
	else if (request->body.length > limit)
		reply_error(request, 413, "body is too large");
	else if (request->body.failed)
		reply_unavailable(request, "out of memory", 1);
	else if (!complete)
		reply_error(request, 400, "body is not complete");
	else
		request->body_read = true;
	return request->body_read;
}

bool
request_check_json(Request *request)
{
	const char *why;

	if (json_is_object(request->body.data, request->body.length, &why))
		return true;
	reply_error(request, 400, why);
	return false;
}

bool
request_read_key(Request *request)
{
	const char *key = request_header(request, "Idempotency-Key");
	size_t length = key != NULL ? strlen(key) : 0;

	while (length > 0 && (key[length - 1] == ' ' || key[length - 1] == '\t'))
		length--;
	if (length > IDEMPOTENCY_KEY_MAX)
	{
		reply_error(request,
					400,
					"header \"Idempotency-Key\" is longer than 255 bytes");
		return false;
	}
	if (!utf8_valid(key, length))
	{
		reply_error(request, 400, "header \"Idempotency-Key\" is not UTF-8");
		return false;
	}
	snprintf(request->key,
			 sizeof(request->key),
			 "%.*s",
			 (int) length,
			 key != NULL ? key : "");
	return true;
}

/* The first of the names that is there counts; blank is not there. */
bool
request_query_number(Request *request, const char *const *names, int *number)
{
	for (; *names != NULL; names++)
	{
		char value[64];
		bool given;

		if (!request_query_text(request, *names, value, sizeof(value), &given))
			return false;
		if (!given || value[0] == '\0')
			continue;
		if (!saturate_number(value, number))
		{
			char message[128];

			snprintf(message,
					 sizeof(message),
					 "parameter \"%s\" is not a whole number",
					 *names);
			reply_error(request, 400, message);
			return false;
		}
		return true;
	}
	return true;
}

bool
request_query_text(Request *request,
				   const char *name,
				   char *value,
				   size_t size,
				   bool *given)
{
	const char *query = request->info->query_string;
	char message[128];
	int length = -1;

	if (query != NULL)
		length = mg_get_var(query, strlen(query), name, value, size);
	*given = length >= 0;
	if (length == -1 || (length >= 0 && strlen(value) == (size_t) length &&
						 utf8_valid(value, (size_t) length)))
		return true;
	snprintf(message, sizeof(message), "parameter \"%s\" is not valid", name);
	reply_error(request, 400, message);
	return false;
}

const cJSON *
request_json_member(const cJSON *object, const char *name)
{
	const cJSON *found = NULL;
	const cJSON *member;

	cJSON_ArrayForEach(member, object)
	{
		if (strcmp(member->string, name) == 0)
			found = member;
	}
	return found;
}

bool
request_body_member(const Request *request,
					const char *name,
					char *value,
					size_t size)
{
	cJSON *body =
		cJSON_ParseWithLength(request->body.data, request->body.length);
	const cJSON *member = request_json_member(body, name);
	bool found = cJSON_IsString(member);

	if (found)
		snprintf(value, size, "%s", member->valuestring);
	cJSON_Delete(body);
	return found;
}

/*
 * Is every line of the head one header, and were all of them read? civetweb
 * lets a line end with a line feed alone and a name with blanks, skips blanks
 * at the start of the first line, and at another line that starts so it stops
 * and takes no further headers, a length neither. None of that is in what it
 * tells, but it can be seen in the buffer: there each line stands as it came,
 * but for zeros in the place of the colon and of what ended it.
 */
static bool
has_whole_lines(const struct mg_request_info *info)
{
	const char *end = info->http_version + strlen(info->http_version);

	for (int i = 0; i < info->num_headers; i++)
	{
		const char *name = info->http_headers[i].name;
		const char *value = info->http_headers[i].value;
		const char *colon = name + strlen(name);

		if (name != end + 2 || (value > colon + 1 && colon[1] == '\0'))
			return false;
		end = value + strlen(value);
	}
	/* Then comes the blank line; without headers it was made zeros as well. */
	return end[1] == '\0' &&
		   (end[2] == '\r' || (info->num_headers == 0 && end[2] == '\0'));
}

/* Taken over as far as it is printable ASCII, so that it can be in a header. */
static void
read_request_id(Request *request)
{
	const char *sent = request_header(request, "X-Request-Id");
	size_t length = 0;

	for (; sent != NULL && *sent != '\0' && length < REQUEST_ID_MAX; sent++)
	{
		if (*sent >= ' ' && *sent <= '~' && (length > 0 || *sent != ' '))
			request->id[length++] = *sent;
	}
	while (length > 0 && request->id[length - 1] == ' ')
		length--;
	request->id[length] = '\0';
	if (length == 0)
		make_uuid(request->id);
}

static void
make_uuid(char *out)
{
	unsigned char b[16] = {0};

	if (getrandom(b, sizeof(b), 0) != sizeof(b))
		memset(b, 0, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++)
		out += sprintf(out,
					   i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x",
					   b[i]);
}

/* W3C Trace Context: version, trace id, parent id, flags, in lower-case hex. */
static void
read_traceparent(Request *request)
{
	static const char pattern[] =
		"xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
	const char *sent = request_header(request, "traceparent");

	if (sent == NULL || strlen(sent) != strlen(pattern))
		return;
	for (size_t i = 0; i < strlen(pattern); i++)
	{
		if (pattern[i] == 'x' ? !isxdigit((unsigned char) sent[i]) ||
									isupper((unsigned char) sent[i])
							  : sent[i] != '-')
			return;
	}
	if (strncmp(sent, "ff", 2) == 0 ||
		strncmp(sent + 3, "00000000000000000000000000000000", 32) == 0 ||
		strncmp(sent + 36, "0000000000000000", 16) == 0)
		return;
	memcpy(request->traceparent, sent, strlen(pattern) + 1);
}

/*
 * Whose request it is. A header counts only if the peer may be believed: one
 * on this machine, or any if the operator says that a proxy stands in front.
 */
static void
read_client(Request *request)
{
	const char *peer = request->info->remote_addr;

	if ((request->gateway->config.trust_proxy || is_loopback(peer)) &&
		(copy_address(request_header(request, "X-Forwarded-For"),
					  request->client,
					  sizeof(request->client)) ||
		 copy_address(request_header(request, "X-Real-IP"),
					  request->client,
					  sizeof(request->client))))
		return;
	snprintf(request->client, sizeof(request->client), "%s", peer);
}

static bool
is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
		   strncmp(address, "::ffff:127.", 11) == 0;
}

/* The first entry of a list, if it is an address. */
static bool
copy_address(const char *value, char *out, size_t size)
{
	unsigned char binary[16];
	char address[48];
	size_t length;

	if (value == NULL)
		return false;
	value += strspn(value, " \t");
	length = strcspn(value, ", \t");
	if (length == 0 || length >= sizeof(address))
		return false;
	memcpy(address, value, length);
	address[length] = '\0';
	if (inet_pton(AF_INET, address, binary) != 1 &&
		inet_pton(AF_INET6, address, binary) != 1)
		return false;
	snprintf(out, size, "%s", address);
	return true;
}

static bool
declares_body(const Request *request)
{
	return request->info->content_length > 0 ||
		   request_header(request, "Transfer-Encoding") != NULL;
}

/* Reads until the body's end, or until it is seen to be too large. */
static bool
read_parts(Request *request, size_t limit)
{
	char part[READ_BYTES];
	long long length = request->info->content_length;

	while (request->body.length <= limit)
	{
		size_t want = sizeof(part);
		int got;

		if (length >= 0 &&
			(size_t) length - request->body.length < sizeof(part))
			want = (size_t) length - request->body.length;
		if (want == 0)
			return true;
		got = mg_read(request->conn, part, want);
		if (got <= 0)
			return got == 0 && length < 0;
		text_add(&request->body, part, (size_t) got);
		if (request->body.failed)
			return false;
	}
	return false;
}

static void
scan_accept(const char *value, const char *type, int *specificity, int *quality)
{
	while (*value != '\0')
	{
		size_t entry = strcspn(value, ",");
		size_t range;
		int found;

		while (entry > 0 && (*value == ' ' || *value == '\t'))
		{
			value++;
			entry--;
		}
		range = strcspn(value, ",; \t");
		found = range_specificity(value, range, type);
		if (found > 0 && found >= *specificity)
		{
			int q = range_quality(value + range, entry - range);

			*quality = found > *specificity || q > *quality ? q : *quality;
			*specificity = found;
		}
		value += entry;
		value += *value == ',';
	}
}

/* 3: the type itself, 2: all of its kind, 1: everything, 0: not this type. */
static int
range_specificity(const char *range, size_t length, const char *type)
{
	size_t kind = strcspn(type, "/") + 1;

	if (length == strlen(type) && strncasecmp(range, type, length) == 0)
		return 3;
	if (length == kind + 1 && strncasecmp(range, type, kind) == 0 &&
		range[kind] == '*')
		return 2;
	return length == 3 && memcmp(range, "*/*", 3) == 0 ? 1 : 0;
}

/* The q of a range in thousandths; 1000 if it has none. */
static int
range_quality(const char *parameters, size_t length)
{
	const char *end = parameters + length;

	for (const char *c = parameters; c + 2 < end; c++)
	{
		int quality;
		int weight = 100;

		if ((c[0] != 'q' && c[0] != 'Q') || c[1] != '=' ||
			(c > parameters && c[-1] != ';' && c[-1] != ' '))
			continue;
		if (c[2] != '0')
			return 1000;
		quality = 0;
		for (c += 4; c < end && isdigit((unsigned char) *c); c++, weight /= 10)
			quality += (*c - '0') * weight;
		return quality;
	}
	return 1000;
}

/* Beyond the range of an int the nearest int stands for it. */
static bool
saturate_number(const char *text, int *number)
{
	bool negative = *text == '-';
	long long value = 0;

	text += *text == '-' || *text == '+';
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text))
		return false;
	for (; *text != '\0' && value <= INT_MAX; text++)
		value = value * 10 + (*text - '0');
	if (value > INT_MAX)
		value = INT_MAX;
	*number = (int) (negative ? -value : value);
	return true;
}

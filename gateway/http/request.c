/*
 * request.c: opens a request: reads its ids, its client's address and whether
 * it can be trusted to end where it says.
 *
 * Everything taken from the client is bounded here: the ids that are copied
 * from headers, and the address.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "clock.h"
#include "config/config.h"
#include "http/headers.h"
#include "http/request.h"

static bool is_ambiguous(const struct mg_request_info *info);
static bool has_whole_lines(const struct mg_request_info *info);
static bool is_host(const char *value);
static void read_request_id(Request *request);
static void make_uuid(char *out);
static void take_random(unsigned char *out, size_t size);
static void read_traceparent(Request *request);
static void read_client(Request *request);
static bool is_loopback(const char *address);
static bool find_client(const Request *request, char *out, size_t size);
static bool copy_address(const char *value, char *out, size_t size);
static bool is_persistent(const Request *request);
static bool declares_body(const Request *request);

void
request_open(Request *request, Gateway *gateway, struct mg_connection *conn)
{
	memset(request, 0, sizeof(*request));
	request->gateway = gateway;
	request->conn = conn;
	request->info = mg_get_request_info(conn);
	request->started_us = clock_us();
	/*
	 * The path as it was sent: in local_uri, /public/../metrics has become
	 * /metrics, which would bypass a proxy that filters by path.
	 */
	request->path =
		request->info->request_uri != NULL ? request->info->request_uri : "";
	request->method = request->info->request_method != NULL
						  ? request->info->request_method
						  : "-";
	request->persistent = is_persistent(request);
	request->body_read = !declares_body(request);
	read_request_id(request);
	read_traceparent(request);
	read_client(request);
}

void
request_detach(Request *request)
{
	text_copy(request->kept_method,
			  sizeof(request->kept_method),
			  request->method);
	text_copy(request->kept_path, sizeof(request->kept_path), request->path);
	request->method = request->kept_method;
	request->path = request->kept_path;
	request->conn = NULL;
	request->info = NULL;
	text_free(&request->body);
}

void
request_close(Request *request)
{
	text_free(&request->body);
	text_free(&request->reply.body);
	text_free(&request->reply.headers);
	free(request->reply.kept_type);
	memory_resize(request->gateway->memory,
				  &request->memory,
				  request->client,
				  0);
}

const char *
request_find_fault(const Request *request)
{
	const struct mg_request_info *info = request->info;
	const char *host = request_header(request, "Host");

	if (is_ambiguous(info))
		return "request is ambiguous";
	if (host == NULL && strcmp(info->http_version, "1.1") == 0)
		return "header \"Host\" is missing";
	if (host != NULL && !is_host(host))
		return "header \"Host\" is not a host";
	return NULL;
}

/*
 * Guards against request smuggling: a proxy and the gateway must not disagree
 * about where a request ends. civetweb uses the first of several lengths,
 * prefers chunked to a length, ignores any other transfer coding and drops
 * headers beyond its maximum.
 */
static bool
is_ambiguous(const struct mg_request_info *info)
{
	int hosts = 0;
	int lengths = 0;
	int codings = 0;

	for (int i = 0; i < info->num_headers; i++)
	{
		const char *name = info->http_headers[i].name;
		const char *value = info->http_headers[i].value;

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
	/* HTTP/1.0 has no transfer codings: who sends one does not know its end. */
	return lengths + codings > 1 || hosts > 1 ||
		   (codings > 0 && strcmp(info->http_version, "1.0") == 0) ||
		   info->num_headers >= MG_MAX_HEADERS || !has_whole_lines(info);
}

/*
 * Was every line of the head read, and is each one a header? civetweb accepts
 * a line feed alone as the end of a line, blanks in a name, and blanks before
 * the first header; at any other line that starts with a blank it stops and
 * ignores the remaining headers, a length among them. It reports none of this,
 * but the buffer shows it: each line is still there as it was sent, with zeros
 * in place of the colon and of the line's end.
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
	/* The blank line follows; without headers it is zeros as well. */
	return end[1] == '\0' &&
		   (end[2] == '\r' || (info->num_headers == 0 && end[2] == '\0'));
}

/*
 * A host and a port as in a URI (RFC 3986), or nothing. Only the characters are
 * checked: the gateway answers for every host.
 */
static bool
is_host(const char *value)
{
	while (isalnum((unsigned char) *value) ||
		   (*value != '\0' && strchr(".:-[]_~%!$&'()*+,;=", *value) != NULL))
		value++;
	return value[strspn(value, " \t")] == '\0';
}

/* Keeps printable ASCII only, so that the id can be sent in a header. */
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
	static const char digits[] = "0123456789abcdef";
	unsigned char b[16];

	take_random(b, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[b[i] >> 4];
		*out++ = digits[b[i] & 0x0f];
	}
	*out = '\0';
}

/* A thread gets random bytes from the kernel for several ids at once. */
static void
take_random(unsigned char *out, size_t size)
{
	static _Thread_local unsigned char bytes[256];
	static _Thread_local size_t left;

	if (left < size)
	{
		if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
			memset(bytes, 0, sizeof(bytes));
		left = sizeof(bytes);
	}
	left -= size;
	memcpy(out, bytes + left, size);
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
 * The client's address. The headers count only if the peer can be trusted: it
 * is on this machine, or a proxy of TRUST_PROXY.
 */
static void
read_client(Request *request)
{
	if (request_trusts_peer(request) &&
		(find_client(request, request->client, sizeof(request->client)) ||
		 copy_address(request_header(request, "X-Real-IP"),
					  request->client,
					  sizeof(request->client))))
		return;
	text_copy(request->client,
			  sizeof(request->client),
			  request->info->remote_addr);
}

bool
request_trusts_peer(const Request *request)
{
	const Config *config = request->gateway->config;

	return config->trust_all || is_loopback(request->info->remote_addr) ||
		   networks_contain(&config->proxies, request->info->remote_addr);
}

static bool
is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
		   strncmp(address, "::ffff:127.", 11) == 0;
}

/*
 * In X-Forwarded-For each proxy adds the address of its peer. A client can
 * begin the list as it likes, so if the proxies are known, its address is the
 * last one that is not a proxy's, else the first one.
 */
static bool
find_client(const Request *request, char *out, size_t size)
{
	const struct mg_request_info *info = request->info;
	const Networks *proxies = &request->gateway->config->proxies;
	bool found = false;

	if (proxies->count == 0)
		return copy_address(request_header(request, "X-Forwarded-For"),
							out,
							size);
	for (int i = info->num_headers - 1; i >= 0; i--)
	{
		const char *value = info->http_headers[i].value;
		size_t end = strlen(value);

		if (strcasecmp(info->http_headers[i].name, "X-Forwarded-For") != 0)
			continue;
		while (end > 0)
		{
			size_t start = end;

			while (start > 0 && value[start - 1] != ',')
				start--;
			if (!copy_address(value + start, out, size))
				return found;
			found = true;
			if (!is_loopback(out) && !networks_contain(proxies, out))
				return true;
			end = start > 0 ? start - 1 : 0;
		}
	}
	return found;
}

/* Copies the first entry of a list if it is an IP address. */
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

/* Predicts what civetweb does, so that the answer says the same. */
static bool
is_persistent(const Request *request)
{
	const char *wish = request_header(request, "Connection");
	const char *version = request->info->http_version;

	if (wish != NULL)
		return strcasestr(wish, "keep-alive") != NULL;
	return version != NULL && strcmp(version, "1.1") == 0;
}

static bool
declares_body(const Request *request)
{
	return request->info->content_length > 0 ||
		   request_header(request, "Transfer-Encoding") != NULL;
}

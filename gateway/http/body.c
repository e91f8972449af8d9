/*
 * body.c: reads the body of a request and the members of its JSON.
 *
 * A body is bounded in size and time, and checked to be one JSON object.
 * Whether its content is acceptable is decided by the database.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "clock.h"
#include "config/config.h"
#include "gateway.h"
#include "http/body.h"
#include "http/connections.h"
#include "http/headers.h"
#include "http/json.h"
#include "http/reply.h"

#define READ_BYTES 16384

static bool read_parts(Request *request, size_t limit);

bool
request_read_body(Request *request)
{
	size_t limit = (size_t) request->gateway->config->max_body_bytes;
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
	connection_watch(request->connection,
					 WATCH_READING,
					 request->gateway->config->request_timeout * SECOND_US);
	complete = read_parts(request, limit);
	if (connection_unwatch(request->connection))
		reply_error(request, 408, "body did not arrive in time");
	else if (request->body.length > limit)
		reply_error(request, 413, "body is too large");
	else if (request->body.failed)
		reply_unavailable(request, "out of memory", 1);
	else if (!complete)
		reply_error(request, 400, "body is incomplete");
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

/* Reads to the end of the body, or until it exceeds the limit. */
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

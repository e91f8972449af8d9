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
#include "db/pool.h"
#include "gateway.h"
#include "http/body.h"
#include "http/coding.h"
#include "http/connections.h"
#include "http/headers.h"
#include "http/json.h"
#include "http/reply.h"
#include "http/wire.h"
#include "inbox/json_text.h"

#define READ_BYTES 16384

/* NULL: refuse them; otherwise the encoding that the replacement must have. */
static const char invalid_text_sql[] =
	"SELECT CASE pg_catalog.current_setting('msgstore.replace_invalid_text',"
	" true) WHEN 'replace' THEN pg_catalog.getdatabaseencoding() END";

static size_t body_limit(const Request *request);
static bool wants_continue(const Request *request);
static bool read_parts(Request *request, size_t limit, bool *full);
static bool count_body(Request *request);
static void skip_mark(Text *body);
static bool replace_invalid_text(Request *request);
static void reply_json_fault(Request *request, const JsonFault *fault);

bool
request_read_body(Request *request)
{
	size_t limit = body_limit(request);
	bool full = false;
	bool arrived;
	bool complete;

	if (request->body_read)
		return true;
	if (request->info->content_length > (long long) limit)
	{
		reply_too_large(request, limit);
		return false;
	}
	if (wants_continue(request))
		mg_write(request->conn, "HTTP/1.1 100 Continue\r\n\r\n", 25);
	/* Usually the body has arrived together with the head. */
	arrived = wire_is_at_end();
	if (!arrived)
		connection_watch(request->connection,
						 WATCH_READING,
						 request->gateway->config->request_timeout * SECOND_US);
	wire_resume();
	complete = read_parts(request, limit, &full);
	wire_pause();
	if (!arrived && connection_unwatch(request->connection))
		reply_error(request, 408, "body did not arrive in time");
	else if (request->body.length > limit)
		reply_too_large(request, limit);
	else if (full)
		reply_too_much(request);
	else if (request->body.failed)
		reply_unavailable(request, "out of memory", 1);
	else if (!complete)
		reply_error(request, 400, "body is incomplete");
	else
		request->body_read = true;
	/* civetweb may not find the next request behind chunks. */
	if (request->info->content_length < 0 && !wire_is_at_end())
		request->close = true;
	if (!request->body_read || !coding_decode(request, limit))
		return false;
	if (count_body(request))
		return true;
	reply_too_much(request);
	return false;
}

bool
request_check_json(Request *request)
{
	Text *body = &request->body;
	JsonFault fault;

	skip_mark(body);
	if (json_is_object(body->data, body->length, &fault))
		return true;
	if (fault.invalid_text)
	{
		if (!replace_invalid_text(request))
			return false;
		if (json_is_object(body->data, body->length, &fault))
			return true;
	}
	reply_json_fault(request, &fault);
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

/* One client gets half of the memory, and a body is counted twice. */
static size_t
body_limit(const Request *request)
{
	const Config *config = request->gateway->config;
	long most = config->max_buffer_bytes / 4;

	if (request->body_limit > 0)
		return request->body_limit;
	if (request->scope != SCOPE_RESPONSES)
		return (size_t) config->max_body_bytes;
	return (size_t) (config->responses_max_body_bytes < most
						 ? config->responses_max_body_bytes
						 : most);
}

/* HTTP/1.0 has no interim answers. */
static bool
wants_continue(const Request *request)
{
	const char *expect = request_header(request, "Expect");

	return expect != NULL && strcasecmp(expect, "100-continue") == 0 &&
		   strcmp(request->info->http_version, "1.0") != 0;
}

/*
 * Reads to the end of the body, or until it exceeds the limit or there is no
 * memory left for it (full).
 */
static bool
read_parts(Request *request, size_t limit, bool *full)
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
		*full = !count_body(request);
		if (request->body.failed || *full)
			return false;
		connection_advance(request->connection, (size_t) got);
	}
	return false;
}

/* Twice: it is copied when it is stored. */
static bool
count_body(Request *request)
{
	return memory_resize(request->gateway->memory,
						 &request->memory,
						 request->client,
						 2 * request->body.length);
}

/* A byte order mark is no part of the JSON. */
static void
skip_mark(Text *body)
{
	size_t mark = json_text_mark(body->data, body->length);

	if (mark == 0)
		return;
	body->length -= mark;
	memmove(body->data, body->data + mark, body->length + 1);
}

/*
 * Replaces the characters that the database cannot store, if it is set to do
 * so: its setting decides, as in read_payload(). It is asked only about bodies
 * that have such a character. Returns false after answering.
 */
static bool
replace_invalid_text(Request *request)
{
	Pool *pool = request->gateway->pool;
	const char *why;
	PoolConnection *connection = pool_borrow(pool, POOL_INGEST, 0, &why);
	QueryOutcome outcome;
	bool known;

	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return false;
	}
	outcome = pool_query(connection,
						 request->caller.tenant,
						 invalid_text_sql,
						 0,
						 NULL);
	pool_return(pool, connection);
	known = strcmp(outcome.sqlstate, "00000") == 0;
	if (!known)
		reply_sqlstate(request, outcome.sqlstate, "", NULL, false);
	else if (!PQgetisnull(outcome.result, 0, 0))
		json_text_replace(request->body.data,
						  request->body.length,
						  strcmp(PQgetvalue(outcome.result, 0, 0), "UTF8") == 0
							  ? JSON_TEXT_REPLACEMENT
							  : JSON_TEXT_QUESTION_MARK);
	PQclear(outcome.result);
	return known;
}

static void
reply_json_fault(Request *request, const JsonFault *fault)
{
	char message[128];

	if (fault->position > 0)
		snprintf(message,
				 sizeof(message),
				 "%s at position %zu",
				 fault->why,
				 fault->position);
	else
		snprintf(message, sizeof(message), "%s", fault->why);
	reply_error_detail(request,
					   400,
					   message,
					   fault->invalid_text
						   ? "PostgreSQL cannot store this character. Remove "
							 "it, or set \"msgstore.replace_invalid_text\" to "
							 "\"replace\"."
						   : NULL);
}

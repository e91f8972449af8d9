/*
 * streams.c: event streams and subscriptions.
 *
 * The database decides what is appended and read. Only what is specific to HTTP
 * is done here: preconditions and ETag, which carry the version of a stream,
 * and how many requests may wait for events at the same time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "db/pool.h"
#include "gateway.h"
#include "http/headers.h"
#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

#define NUMBER_BYTES 24

static const char append_sql[] =
	"SELECT version, pg_catalog.jsonb_build_object('stream', stream,"
	" 'version', version, 'position', global_position)"
	" FROM msgstore.append_batch(CASE pg_catalog.jsonb_typeof($2::jsonb)"
	" WHEN 'object' THEN pg_catalog.jsonb_build_array($2::jsonb"
	" || pg_catalog.jsonb_build_object('stream', $1::text)"
	" || CASE WHEN $3::bigint IS NULL THEN '{}' ELSE"
	" pg_catalog.jsonb_build_object('expected_version', $3::bigint) END)"
	" ELSE $2::jsonb END)";
static const char append_batch_sql[] =
	"SELECT NULL, pg_catalog.jsonb_build_object('events',"
	" coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('stream',"
	" stream, 'version', version, 'position', global_position)), '[]'))"
	" FROM msgstore.append_batch(coalesce(($1::jsonb) -> 'events', 'null'))";
static const char stream_sql[] =
	"SELECT p ->> 'version', p FROM msgstore.stream_page($1, $2::bigint,"
	" coalesce($3::bigint, 100), coalesce($4::boolean, false)) p";
static const char events_sql[] =
	"SELECT NULL, msgstore.event_page($1, coalesce($2::bigint, 0),"
	" coalesce($3::bigint, 100), pg_catalog.make_interval(secs => $4::float8))";
static const char subscriptions_sql[] =
	"SELECT NULL, pg_catalog.jsonb_build_object('subscriptions',"
	" coalesce(pg_catalog.jsonb_agg(s), '[]'))"
	" FROM msgstore.list_subscriptions() s";
static const char fetch_sql[] =
	"SELECT NULL, msgstore.fetch_page($1,"
	" coalesce(($2::jsonb ->> 'max_events')::bigint, 100),"
	" coalesce(($2::jsonb ->> 'member')::bigint, 0),"
	" pg_catalog.make_interval(secs => least("
	"coalesce(($2::jsonb ->> 'wait')::float8, 0), $3::float8)))";
static const char ack_sql[] =
	"SELECT NULL, pg_catalog.jsonb_build_object('position',"
	" ($2::jsonb ->> 'position')::bigint) FROM msgstore.ack($1,"
	" ($2::jsonb ->> 'position')::bigint,"
	" coalesce(($2::jsonb ->> 'member')::bigint, 0))";

static void answer(Request *request,
				   int status,
				   const char *sql,
				   int count,
				   const char *const *values);
static bool read_precondition(Request *request, char *version, bool *given);
static bool read_version(const char *tag, char *version);
static bool read_number(Request *request,
						const char *name,
						const char *letters,
						char *value,
						bool *given);
static bool read_boolean(Request *request, const char *name, char *value);
static void limit_wait(Request *request, double asked, char *wait);

void
post_stream(Request *request)
{
	char version[NUMBER_BYTES];
	bool given;

	if (!read_precondition(request, version, &given))
		return;
	request->conditional = given;
	answer(request,
		   201,
		   append_sql,
		   3,
		   (const char *[]){request->segment,
							request->body.data,
							given ? version : NULL});
}

void
post_streams(Request *request)
{
	answer(request,
		   201,
		   append_batch_sql,
		   1,
		   (const char *[]){request->body.data});
}

void
get_stream(Request *request)
{
	char from[NUMBER_BYTES];
	char most[NUMBER_BYTES];
	char backwards[NUMBER_BYTES];
	bool has_from;
	bool has_most;

	if (!read_number(request, "from_version", "-", from, &has_from) ||
		!read_number(request, "max_events", "-", most, &has_most) ||
		!read_boolean(request, "backwards", backwards))
		return;
	answer(request,
		   200,
		   stream_sql,
		   4,
		   (const char *[]){request->segment,
							has_from ? from : NULL,
							has_most ? most : NULL,
							backwards});
}

void
get_streams(Request *request)
{
	char category[PATH_SEGMENT_MAX + 1];
	char after[NUMBER_BYTES];
	char most[NUMBER_BYTES];
	char wait[NUMBER_BYTES];
	bool has_category;
	bool has_after;
	bool has_most;
	bool has_wait;

	if (!request_query_text(request,
							"category",
							category,
							sizeof(category),
							&has_category) ||
		!read_number(request, "after_position", "-", after, &has_after) ||
		!read_number(request, "max_events", "-", most, &has_most) ||
		!read_number(request, "wait", ".", wait, &has_wait))
		return;
	limit_wait(request, has_wait ? strtod(wait, NULL) : 0, wait);
	answer(request,
		   200,
		   events_sql,
		   4,
		   (const char *[]){has_category ? category : NULL,
							has_after ? after : NULL,
							has_most ? most : NULL,
							wait});
}

void
get_subscriptions(Request *request)
{
	answer(request, 200, subscriptions_sql, 0, NULL);
}

void
post_fetch(Request *request)
{
	char wait[NUMBER_BYTES];

	/* The most that the body may ask for. */
	limit_wait(request, request->gateway->config->query_timeout, wait);
	answer(request,
		   200,
		   fetch_sql,
		   3,
		   (const char *[]){request->segment, request->body.data, wait});
}

void
post_ack(Request *request)
{
	answer(request,
		   200,
		   ack_sql,
		   2,
		   (const char *[]){request->segment, request->body.data});
}

/* The statement returns the version of the stream, or null, and the body. */
static void
answer(Request *request,
	   int status,
	   const char *sql,
	   int count,
	   const char *const *values)
{
	PGresult *row =
		call_database(request, sql, count, values, request->body.length > 0);
	Text body = {0};

	if (row == NULL)
		return;
	if (!PQgetisnull(row, 0, 0))
		snprintf(request->reply.etag,
				 sizeof(request->reply.etag),
				 "%s",
				 PQgetvalue(row, 0, 0));
	text_add_string(&body, PQgetvalue(row, 0, 1));
	reply_body(request, status, NULL, &body);
	PQclear(row);
}

/* "If-None-Match: *" means that the stream has no events. */
static bool
read_precondition(Request *request, char *version, bool *given)
{
	const char *match = request_header(request, "If-Match");
	const char *none = request_header(request, "If-None-Match");

	*given = match != NULL || none != NULL;
	if (!*given)
		return true;
	if (match == NULL && strcmp(none, "*") == 0)
	{
		snprintf(version, NUMBER_BYTES, "0");
		return true;
	}
	if (none == NULL && read_version(match, version))
		return true;
	reply_error_detail(
		request,
		400,
		"If-Match is not a version",
		"Send the version of the stream in quotes, as in \"3\", or If-None-Match: * for a stream without events.");
	return false;
}

static bool
read_version(const char *tag, char *version)
{
	size_t quotes = *tag == '"' ? 1 : 0;
	size_t digits = strspn(tag + quotes, "0123456789");

	if (digits == 0 || digits > 18 ||
		strcmp(tag + quotes + digits, quotes > 0 ? "\"" : "") != 0)
		return false;
	snprintf(version, NUMBER_BYTES, "%.*s", (int) digits, tag + quotes);
	return true;
}

/* The letters are those of a number besides digits. */
static bool
read_number(Request *request,
			const char *name,
			const char *letters,
			char *value,
			bool *given)
{
	char allowed[16];
	char message[64];
	char *end;

	if (!request_query_text(request, name, value, NUMBER_BYTES - 4, given))
		return false;
	snprintf(allowed, sizeof(allowed), "0123456789%s", letters);
	if (!*given ||
		(strlen(value) < 19 && strspn(value, allowed) == strlen(value) &&
		 (strtod(value, &end), *end == '\0')))
		return true;
	snprintf(message,
			 sizeof(message),
			 "parameter \"%s\" is not a number",
			 name);
	reply_error(request, 400, message);
	return false;
}

/* Leaves "false" where the parameter is missing. */
static bool
read_boolean(Request *request, const char *name, char *value)
{
	char message[64];
	bool given;

	if (!request_query_text(request, name, value, NUMBER_BYTES, &given))
		return false;
	if (!given)
		snprintf(value, NUMBER_BYTES, "false");
	if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
		return true;
	snprintf(message,
			 sizeof(message),
			 "parameter \"%s\" is not true or false",
			 name);
	reply_error(request, 400, message);
	return false;
}

/*
 * A request that waits keeps a connection. So only a fifth of them may wait at
 * a time, which leaves one for appends, and none longer than a statement may
 * take; beyond that the answer comes at once and says when to ask again.
 */
static void
limit_wait(Request *request, double asked, char *wait)
{
	const Config *config = request->gateway->config;
	PoolCounts counts = pool_counts(request->gateway->pool);
	double longest = (double) config->query_timeout - 1;

	if (asked > 0 && counts.classes[POOL_STREAMS].in_use >=
						 (unsigned long long) config->pool_max / 5)
	{
		asked = 0;
		request->reply.retry_after = 1;
	}
	snprintf(wait, NUMBER_BYTES, "%.3f", asked < longest ? asked : longest);
}

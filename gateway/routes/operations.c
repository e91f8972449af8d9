/*
 * operations.c: what operators look at and do: dead letters, workers, sources,
 * checks, and what has been done. Each is one statement with the rights of the
 * gateway's role.
 */
#include <stdio.h>
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

/* A list of rows as JSON. */
#define ITEMS(query)                                                           \
	"SELECT pg_catalog.jsonb_build_object('items', coalesce("                  \
	"pg_catalog.jsonb_agg(pg_catalog.to_jsonb(i)), '[]')) FROM (" query ") i"

static const char dead_letters_sql[] =
	"SELECT msgstore._operations_page('dead_letters', $1, $2::uuid)";
static const char requeue_sql[] =
	"SELECT pg_catalog.jsonb_build_object('count',"
	" msgstore.requeue_dead_letters("
	"channel => $1::jsonb ->> 'channel',"
	" error_code => $1::jsonb ->> 'error_code',"
	" event_ids => CASE WHEN $1::jsonb ? 'ids' THEN ARRAY(SELECT"
	" e::uuid FROM pg_catalog.jsonb_array_elements_text($1::jsonb -> 'ids') e)"
	" END,"
	" dry_run => coalesce(($1::jsonb ->> 'dry_run')::boolean, false)))";
static const char workers_sql[] = "SELECT msgstore._operations_page('workers')";
static const char pause_sql[] =
	"SELECT pg_catalog.jsonb_build_object('changed',"
	" msgstore.pause_workers($1::jsonb ->> 'reason'))";
static const char resume_sql[] =
	"SELECT pg_catalog.jsonb_build_object('changed',"
	" msgstore.resume_workers())";
static const char sources_sql[] =
	ITEMS("SELECT s.name, s.provider, s.scheme, s.signed, s.secrets,"
		  " s.next_secret_end, s.created_at FROM msgstore.list_sources() s"
		  " ORDER BY s.name");
static const char outbox_sql[] = "SELECT msgstore._sending_page('outbox')";
static const char reports_sql[] = "SELECT msgstore._sending_page('reports')";
static const char checks_sql[] = ITEMS("SELECT * FROM msgstore.check()");
static const char operations_sql[] =
	"SELECT msgstore._operations_page('operations')";
static const char running_sql[] =
	ITEMS("SELECT * FROM msgstore.list_operations()");

static void
answer(Request *request, const char *sql, int count, const char *const *values);

void
get_dead_letters(Request *request)
{
	char channel[CURSOR_MAX + 1];
	char after[CURSOR_MAX + 1];
	bool has_channel;
	bool has_after;

	if (!request_query_text(request,
							"channel",
							channel,
							sizeof(channel),
							&has_channel) ||
		!request_query_text(request, "after", after, sizeof(after), &has_after))
		return;
	if (has_after && (strlen(after) != 36 ||
					  after[strspn(after, "0123456789abcdef-")] != '\0'))
	{
		reply_error(request,
					400,
					"parameter \"after\" is not the id of an item");
		return;
	}
	answer(request,
		   dead_letters_sql,
		   2,
		   (const char *[]){has_channel ? channel : NULL,
							has_after ? after : NULL});
}

void
post_dead_letters_requeue(Request *request)
{
	answer(request, requeue_sql, 1, (const char *[]){request->body.data});
}

void
get_workers(Request *request)
{
	answer(request, workers_sql, 0, NULL);
}

void
post_workers_pause(Request *request)
{
	answer(request, pause_sql, 1, (const char *[]){request->body.data});
}

void
post_workers_resume(Request *request)
{
	answer(request, resume_sql, 0, NULL);
}

void
get_sources(Request *request)
{
	answer(request, sources_sql, 0, NULL);
}

void
get_outbox(Request *request)
{
	answer(request, outbox_sql, 0, NULL);
}

void
get_status_reports(Request *request)
{
	answer(request, reports_sql, 0, NULL);
}

void
get_checks(Request *request)
{
	answer(request, checks_sql, 0, NULL);
}

void
get_operations(Request *request)
{
	answer(request, operations_sql, 0, NULL);
}

void
get_running_operations(Request *request)
{
	answer(request, running_sql, 0, NULL);
}

static void
answer(Request *request, const char *sql, int count, const char *const *values)
{
	PGresult *row =
		call_database(request, sql, count, values, request->body.length > 0);
	Text body = {0};

	if (row == NULL)
		return;
	text_add_string(&body, PQgetvalue(row, 0, 0));
	reply_body(request, 200, NULL, &body);
	PQclear(row);
}

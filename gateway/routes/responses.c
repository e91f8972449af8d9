/*
 * responses.c: the routes that are compatible with OpenAI's Responses API.
 *
 * The database decides what is stored and visible. Only what is specific to
 * HTTP is checked here: ids in a path and values in a query.
 */
#include <stdio.h>
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

#define LIST_VALUES 7

static const char save_sql[] =
	"SELECT s.id IS NOT NULL, CASE WHEN s.id IS NULL THEN $1::jsonb"
	" ELSE msgstore.get_response(s.id) END"
	" FROM (SELECT msgstore.save_response($1::jsonb) AS id) s";
static const char get_sql[] = "SELECT true, msgstore.get_response($1)";
static const char get_chain_sql[] =
	"SELECT true, msgstore.response_with_chain($1)";
static const char delete_sql[] =
	"SELECT true, coalesce(msgstore.cancel_response($1),"
	" pg_catalog.jsonb_build_object('id', $1, 'object', 'response.deleted',"
	" 'deleted', true))";
static const char cancel_sql[] =
	"SELECT true, msgstore.cancel_response($1, false)";
static const char list_sql[] =
	"SELECT true, msgstore.list_responses($1, $2, coalesce($3::int, 20),"
	" coalesce($4, 'desc'), $5, $6, $7::boolean)";
static const char items_sql[] =
	"SELECT true, msgstore.response_input_items($1, $2, $3,"
	" coalesce($4::int, 20), coalesce($5, 'asc'))";

/* The parameters of a list; those that are given are valid. */
typedef struct ListQuery
{
	char after[CURSOR_MAX + 1];
	char before[CURSOR_MAX + 1];
	char limit[16];
	char order[16];
	bool has_after;
	bool has_before;
	bool has_limit;
	bool has_order;
} ListQuery;

static void
answer(Request *request, const char *sql, int count, const char *const *values);
static bool check_id(Request *request);
static bool read_list_query(Request *request, ListQuery *query);
static bool check_limit(Request *request, const char *limit);
static void
refuse(Request *request, const char *parameter, const char *message);

void
post_response(Request *request)
{
	answer(request, save_sql, 1, (const char *[]){request->body.data});
	/* With "store": false the response is returned and nothing is created. */
	if (request->reply.status == 200)
		request->reply.status = request->reply.created ? 201 : 200;
}

void
get_response(Request *request)
{
	char value[BOOLEAN_MAX + 1];
	bool given;

	if (!check_id(request) ||
		!request_query_boolean(request, "include_chain", value, &given))
		return;
	answer(request,
		   given && strcmp(value, "true") == 0 ? get_chain_sql : get_sql,
		   1,
		   (const char *[]){request->segment});
}

void
delete_response(Request *request)
{
	if (check_id(request))
		answer(request, delete_sql, 1, (const char *[]){request->segment});
}

void
post_response_cancel(Request *request)
{
	if (check_id(request))
		answer(request, cancel_sql, 1, (const char *[]){request->segment});
}

void
get_responses(Request *request)
{
	ListQuery query;
	char model[CURSOR_MAX + 1];
	char status[64];
	char background[BOOLEAN_MAX + 1];
	bool has_model;
	bool has_status;
	bool has_background;

	if (!read_list_query(request, &query) ||
		!request_query_text(request,
							"model",
							model,
							sizeof(model),
							&has_model) ||
		!request_query_text(request,
							"status",
							status,
							sizeof(status),
							&has_status) ||
		!request_query_boolean(request,
							   "background",
							   background,
							   &has_background))
		return;
	answer(request,
		   list_sql,
		   LIST_VALUES,
		   (const char *[]){query.has_after ? query.after : NULL,
							query.has_before ? query.before : NULL,
							query.has_limit ? query.limit : NULL,
							query.has_order ? query.order : NULL,
							has_model ? model : NULL,
							has_status ? status : NULL,
							has_background ? background : NULL});
}

void
get_response_items(Request *request)
{
	ListQuery query;

	if (!check_id(request) || !read_list_query(request, &query))
		return;
	answer(request,
		   items_sql,
		   5,
		   (const char *[]){request->segment,
							query.has_after ? query.after : NULL,
							query.has_before ? query.before : NULL,
							query.has_limit ? query.limit : NULL,
							query.has_order ? query.order : NULL});
}

/* The statement returns whether it created something, and the body. */
static void
answer(Request *request, const char *sql, int count, const char *const *values)
{
	PGresult *row =
		call_database(request, sql, count, values, request->body.length > 0);
	Text body = {0};

	if (row == NULL)
		return;
	request->reply.created = strcmp(PQgetvalue(row, 0, 0), "t") == 0;
	text_add_string(&body, PQgetvalue(row, 0, 1));
	reply_body(request, 200, NULL, &body);
	PQclear(row);
}

/* The database accepts any text as an id; a path only these characters. */
static bool
check_id(Request *request)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								  "abcdefghijklmnopqrstuvwxyz0123456789_.:-";

	if (strlen(request->segment) <= RESPONSE_ID_MAX &&
		strspn(request->segment, letters) == strlen(request->segment))
		return true;
	refuse(request, "response_id", "malformed response ID");
	return false;
}

static bool
read_list_query(Request *request, ListQuery *query)
{
	if (!request_query_text(request,
							"after",
							query->after,
							sizeof(query->after),
							&query->has_after) ||
		!request_query_text(request,
							"before",
							query->before,
							sizeof(query->before),
							&query->has_before) ||
		!request_query_text(request,
							"limit",
							query->limit,
							sizeof(query->limit),
							&query->has_limit) ||
		!request_query_text(request,
							"order",
							query->order,
							sizeof(query->order),
							&query->has_order))
		return false;
	if (query->has_after && query->has_before)
	{
		refuse(request,
			   "before",
			   "parameters \"after\" and \"before\" cannot be combined");
		return false;
	}
	return !query->has_limit || check_limit(request, query->limit);
}

/* The database clamps large values; nine digits always fit into an int. */
static bool
check_limit(Request *request, const char *limit)
{
	size_t length = strlen(limit);

	if (length > 0 && length < 10 && strspn(limit, "0123456789") == length &&
		strspn(limit, "0") < length)
		return true;
	refuse(request, "limit", "parameter \"limit\" is not a positive number");
	return false;
}

static void
refuse(Request *request, const char *parameter, const char *message)
{
	snprintf(request->reply.param,
			 sizeof(request->reply.param),
			 "%s",
			 parameter);
	reply_error(request, 400, message);
}

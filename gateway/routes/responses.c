/*
 * responses.c: the routes that are compatible with OpenAI's Responses API.
 *
 * The database decides what is stored and visible. Only what is specific to
 * HTTP is checked here: ids in a path and values in a query.
 */
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/answer.h"
#include "routes/handlers.h"

#define LIST_VALUES 8

/* The longest query of a search, in bytes. */
#define QUERY_MAX 4096

/* Digits of a number that fits into a bigint. */
#define STARTING_AFTER_MAX 18

/* The third column says that the body is a stream of events. */
static const char save_sql[] =
	"SELECT s.id IS NOT NULL, CASE WHEN s.id IS NULL THEN $1::jsonb::text"
	" WHEN s.streamed THEN msgstore.response_event_stream(s.id)"
	" ELSE msgstore.get_response(s.id)::text END,"
	" s.streamed AND s.id IS NOT NULL"
	" FROM (SELECT msgstore.save_response($1::jsonb) AS id,"
	" coalesce($1::jsonb -> 'stream' = 'true', false) AS streamed) s";
static const char stream_sql[] =
	"SELECT true, msgstore.response_event_stream($1, $2::bigint), true";
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
static const char search_sql[] =
	"SELECT true, msgstore.search_responses($8, $1, $2,"
	" coalesce($3::int, 20), coalesce($4, 'desc'), $5, $6, $7::boolean)";
static const char items_sql[] =
	"SELECT true, msgstore.response_input_items($1, $2, $3,"
	" coalesce($4::int, 20), coalesce($5, 'desc'))";

static bool check_id(Request *request);
static bool read_streaming(Request *request, bool *streams, char *after);

void
post_response(Request *request)
{
	answer_row(request, save_sql, 1, (const char *[]){request->body.data});
	/* With "store": false the response is returned and nothing is created. */
	if (request->reply.status == 200)
		request->reply.status = request->reply.created ? 201 : 200;
}

void
get_response(Request *request)
{
	char after[STARTING_AFTER_MAX + 1];
	char value[BOOLEAN_MAX + 1];
	bool given;
	bool streams;

	if (!check_id(request) ||
		!request_query_boolean(request, "include_chain", value, &given) ||
		!read_streaming(request, &streams, after))
		return;
	if (streams)
		answer_row(request,
				   stream_sql,
				   2,
				   (const char *[]){request->segment,
									after[0] != '\0' ? after : NULL});
	else
		answer_row(request,
				   given && strcmp(value, "true") == 0 ? get_chain_sql
													   : get_sql,
				   1,
				   (const char *[]){request->segment});
}

void
delete_response(Request *request)
{
	if (check_id(request))
		answer_row(request, delete_sql, 1, (const char *[]){request->segment});
}

void
post_response_cancel(Request *request)
{
	if (check_id(request))
		answer_row(request, cancel_sql, 1, (const char *[]){request->segment});
}

void
get_responses(Request *request)
{
	ListQuery query = {0};
	char model[CURSOR_MAX + 1];
	char status[64];
	char background[BOOLEAN_MAX + 1];
	char words[QUERY_MAX];
	bool has_words;
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
							   &has_background) ||
		!request_query_text(request, "q", words, QUERY_MAX, &has_words))
		return;
	answer_row(request,
			   has_words ? search_sql : list_sql,
			   has_words ? LIST_VALUES : LIST_VALUES - 1,
			   (const char *[]){query.after,
								query.before,
								query.limit,
								query.order,
								has_model ? model : NULL,
								has_status ? status : NULL,
								has_background ? background : NULL,
								words});
}

void
get_response_items(Request *request)
{
	if (check_id(request))
		answer_list(request, items_sql);
}

/* Routes of the API that would need a model. */
void
refuse_model_call(Request *request)
{
	reply_error(request,
				501,
				"not implemented: this server stores responses and runs no "
				"model");
}

static bool
check_id(Request *request)
{
	return check_path_id(request,
						 request->segment,
						 "response_id",
						 "malformed response ID");
}

/* Should the answer be a stream of events, and after which number? */
static bool
read_streaming(Request *request, bool *streams, char *after)
{
	char value[BOOLEAN_MAX + 1];
	bool given;

	after[0] = '\0';
	if (!request_query_boolean(request, "stream", value, &given))
		return false;
	*streams = given && strcmp(value, "true") == 0;
	if (!request_query_text(request,
							"starting_after",
							after,
							STARTING_AFTER_MAX + 1,
							&given))
		return false;
	if (!given)
		after[0] = '\0';
	else if (!*streams)
		return refuse_parameter(request,
								"starting_after",
								"parameter \"starting_after\" needs "
								"\"stream\"");
	else if (strspn(after, "0123456789") != strlen(after))
		return refuse_parameter(request,
								"starting_after",
								"parameter \"starting_after\" is not a whole "
								"number");
	return true;
}

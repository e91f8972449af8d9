/*
 * response_conversations.c: the routes that are compatible with OpenAI's
 * Conversations API.
 *
 * The database decides what is stored and visible.
 */
#include <string.h>

#include "routes/answer.h"
#include "routes/handlers.h"

static const char create_sql[] =
	"SELECT true, msgstore.create_response_conversation($1::jsonb)";
static const char get_sql[] =
	"SELECT true, msgstore.get_response_conversation($1)";
static const char update_sql[] =
	"SELECT true, msgstore.update_response_conversation($1,"
	" coalesce($2::jsonb -> 'metadata', '0'))";
static const char delete_sql[] =
	"SELECT msgstore.delete_response_conversation($1),"
	" pg_catalog.jsonb_build_object('id', $1, 'object',"
	" 'conversation.deleted', 'deleted', true)";
static const char add_sql[] = "SELECT true, msgstore.add_conversation_items($1,"
							  " coalesce($2::jsonb -> 'items', 'null'))";
static const char list_sql[] =
	"SELECT true, msgstore.list_conversation_items($1, $2, $3,"
	" coalesce($4::int, 20), coalesce($5, 'desc'))";
static const char get_item_sql[] =
	"SELECT true, msgstore.get_conversation_item($1, $2)";
static const char delete_item_sql[] =
	"SELECT true, msgstore.delete_conversation_item($1, $2)";

static bool check_ids(Request *request);

void
post_response_conversation(Request *request)
{
	answer_row(request, create_sql, 1, (const char *[]){request->body.data});
}

void
get_response_conversation(Request *request)
{
	if (check_ids(request))
		answer_row(request, get_sql, 1, (const char *[]){request->segment});
}

void
update_response_conversation(Request *request)
{
	if (check_ids(request))
		answer_row(request,
				   update_sql,
				   2,
				   (const char *[]){request->segment, request->body.data});
}

void
delete_response_conversation(Request *request)
{
	if (check_ids(request))
		answer_row(request, delete_sql, 1, (const char *[]){request->segment});
}

void
post_conversation_items(Request *request)
{
	if (check_ids(request))
		answer_row(request,
				   add_sql,
				   2,
				   (const char *[]){request->segment, request->body.data});
}

void
get_conversation_items(Request *request)
{
	if (check_ids(request))
		answer_list(request, list_sql);
}

void
get_conversation_item(Request *request)
{
	if (check_ids(request))
		answer_row(request,
				   get_item_sql,
				   2,
				   (const char *[]){request->segment, request->second_segment});
}

void
delete_conversation_item(Request *request)
{
	if (check_ids(request))
		answer_row(request,
				   delete_item_sql,
				   2,
				   (const char *[]){request->segment, request->second_segment});
}

static bool
check_ids(Request *request)
{
	return check_path_id(request,
						 request->segment,
						 "conversation_id",
						 "malformed conversation ID") &&
		   (request->second_segment[0] == '\0' ||
			check_path_id(request,
						  request->second_segment,
						  "item_id",
						  "malformed item ID"));
}

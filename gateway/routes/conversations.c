/*
 * conversations.c: lists of conversations and of a conversation's messages,
 * as JSON from the database.
 */
#include <stdio.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

static const char conversations_sql[] =
	"SELECT msgstore.list_conversations($1::int, $2::int, $3)";
static const char messages_sql[] =
	"SELECT msgstore.list_messages($4, $1::int, $2::int, $3)";

static const char *const page_names[] = {"page", NULL};
static const char *const size_names[] = {"pageSize",
										 "page_size",
										 "per_page",
										 NULL};

static void list(Request *request, const char *sql, const char *conversation);

void
get_conversations(Request *request)
{
	list(request, conversations_sql, NULL);
}

void
get_conversation_messages(Request *request)
{
	list(request, messages_sql, request->segment);
}

static void
list(Request *request, const char *sql, const char *conversation)
{
	int page = 1;
	int size = 0; /* the database's default */
	char page_text[16];
	char size_text[16];
	char after[CURSOR_MAX + 1];
	bool has_after;
	PGresult *row;
	Text body = {0};

	if (!request_query_number(request, page_names, &page) ||
		!request_query_number(request, size_names, &size) ||
		!request_query_text(request, "after", after, sizeof(after), &has_after))
		return;
	snprintf(page_text, sizeof(page_text), "%d", page);
	snprintf(size_text, sizeof(size_text), "%d", size);
	row = call_database(request,
						sql,
						conversation != NULL ? 4 : 3,
						(const char *[]){page_text,
										 size_text,
										 has_after ? after : NULL,
										 conversation},
						false);
	if (row == NULL)
		return;
	text_add_string(&body, PQgetvalue(row, 0, 0));
	reply_body(request, 200, NULL, &body);
	PQclear(row);
}

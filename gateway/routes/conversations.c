/*
 * conversations.c: the lists, as the database makes them.
 */
#include <stdio.h>
#include <string.h>

#include "http/reply.h"
#include "routes/routes.h"

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
	Pool *pool = request->gateway->pool;
	PoolConnection *connection;
	QueryOutcome outcome;
	const char *why;
	int page = 1;
	int size = 0; /* the database's own default */
	char page_text[16];
	char size_text[16];
	char after[CURSOR_MAX + 1];
	bool has_after;
	Text body = {0};

	if (!request_query_number(request, page_names, &page) ||
		!request_query_number(request, size_names, &size) ||
		!request_query_text(request, "after", after, sizeof(after), &has_after))
		return;
	snprintf(page_text, sizeof(page_text), "%d", page);
	snprintf(size_text, sizeof(size_text), "%d", size);
	connection = pool_borrow(pool, 0, &why);
	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return;
	}
	outcome = pool_query(connection,
						 request->caller.tenant,
						 sql,
						 conversation != NULL ? 4 : 3,
						 (const char *[]){page_text,
										  size_text,
										  has_after ? after : NULL,
										  conversation});
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		reply_query_error(request, &outcome, false);
	else if (PQntuples(outcome.result) != 1)
		reply_error(request, 500, "internal error");
	else
	{
		text_add_string(&body, PQgetvalue(outcome.result, 0, 0));
		reply_body(request, 200, NULL, &body);
	}
	PQclear(outcome.result);
}

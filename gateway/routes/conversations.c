/*
 * conversations.c: lists of conversations and of a conversation's messages,
 * and what people change, as JSON from the database.
 */
#include <stdio.h>
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

/* The longest name of a reader or an assignee, in bytes. */
#define NAME_MAX_BYTES 1020

static const char conversations_sql[] =
	"SELECT msgstore.list_conversations($1::int, $2::int, $3, $4, $5, $6, $7,"
	" $8, $9::boolean)";
static const char messages_sql[] =
	"SELECT msgstore.list_messages($4, $1::int, $2::int, $3,"
	" newest_first => $5::text = 'desc')";
static const char get_sql[] = "SELECT msgstore.get_conversation($1, $2)";
static const char update_sql[] =
	"SELECT msgstore.update_conversation($1, $3::jsonb, $2)";
static const char read_sql[] =
	"SELECT msgstore.mark_read($1, $2::jsonb ->> 'reader',"
	" ($2::jsonb ->> 'message')::uuid)";
static const char unread_sql[] =
	"SELECT msgstore.mark_unread($1, $2::jsonb ->> 'reader')";

static const char *const page_names[] = {"page", NULL};
static const char *const size_names[] = {"pageSize",
										 "page_size",
										 "per_page",
										 NULL};

/* The parameters of all lists. */
typedef struct Page
{
	char page[16];
	char size[16];
	char after[CURSOR_MAX + 1];
	bool has_after;
} Page;

/* The filters of the list of conversations; "" if not given. */
typedef struct Filter
{
	char state[16];
	char assignee[NAME_MAX_BYTES + 1];
	char label[NAME_MAX_BYTES + 1];
	char contact_name[NAME_MAX_BYTES + 1];
	char reader[NAME_MAX_BYTES + 1];
	char unread[BOOLEAN_MAX + 1];
	char unassigned[BOOLEAN_MAX + 1];
} Filter;

static bool read_page(Request *request, Page *page);
static bool read_filter(Request *request, Filter *filter);
static const char *given(const char *value);
static void answer(Request *request,
				   const char *sql,
				   int count,
				   const char *const *values,
				   bool content);

void
get_conversations(Request *request)
{
	Page page;
	Filter filter;

	if (!read_page(request, &page) || !read_filter(request, &filter))
		return;
	answer(request,
		   conversations_sql,
		   9,
		   (const char *[]){page.page,
							page.size,
							page.has_after ? page.after : NULL,
							given(filter.state),
							strcmp(filter.unassigned, "true") == 0
								? ""
								: given(filter.assignee),
							given(filter.label),
							given(filter.contact_name),
							given(filter.reader),
							given(filter.unread)},
		   false);
}

void
get_conversation_messages(Request *request)
{
	Page page;
	char order[8];
	bool has_order;

	if (!read_page(request, &page) ||
		!request_query_text(request, "order", order, sizeof(order), &has_order))
		return;
	if (has_order && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
	{
		reply_error(request, 400, "parameter \"order\" is not asc or desc");
		return;
	}
	answer(request,
		   messages_sql,
		   5,
		   (const char *[]){page.page,
							page.size,
							page.has_after ? page.after : NULL,
							request->segment,
							has_order ? order : "asc"},
		   false);
}

void
get_conversation(Request *request)
{
	char reader[NAME_MAX_BYTES + 1];
	bool has_reader;

	if (!request_query_text(request,
							"reader",
							reader,
							sizeof(reader),
							&has_reader))
		return;
	answer(request,
		   get_sql,
		   2,
		   (const char *[]){request->segment, has_reader ? reader : NULL},
		   false);
}

void
patch_conversation(Request *request)
{
	char reader[NAME_MAX_BYTES + 1];
	bool has_reader;

	if (!request_query_text(request,
							"reader",
							reader,
							sizeof(reader),
							&has_reader))
		return;
	answer(request,
		   update_sql,
		   3,
		   (const char *[]){request->segment,
							has_reader ? reader : NULL,
							request->body.data},
		   true);
}

void
post_conversation_read(Request *request)
{
	answer(request,
		   read_sql,
		   2,
		   (const char *[]){request->segment, request->body.data},
		   true);
}

void
post_conversation_unread(Request *request)
{
	answer(request,
		   unread_sql,
		   2,
		   (const char *[]){request->segment, request->body.data},
		   true);
}

static bool
read_page(Request *request, Page *page)
{
	int number = 1;
	int size = 0; /* the database's default */

	if (!request_query_number(request, page_names, &number) ||
		!request_query_number(request, size_names, &size) ||
		!request_query_text(request,
							"after",
							page->after,
							sizeof(page->after),
							&page->has_after))
		return false;
	snprintf(page->page, sizeof(page->page), "%d", number);
	snprintf(page->size, sizeof(page->size), "%d", size);
	return true;
}

static bool
read_filter(Request *request, Filter *filter)
{
	const struct
	{
		const char *name;
		char *value;
		size_t size;
	} texts[] = {
		{"state", filter->state, sizeof(filter->state)},
		{"assignee", filter->assignee, sizeof(filter->assignee)},
		{"label", filter->label, sizeof(filter->label)},
		{"contact_name", filter->contact_name, sizeof(filter->contact_name)},
		{"reader", filter->reader, sizeof(filter->reader)},
	};
	bool is_given;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		texts[i].value[0] = '\0';
		if (!request_query_text(request,
								texts[i].name,
								texts[i].value,
								texts[i].size,
								&is_given))
			return false;
	}
	filter->unread[0] = '\0';
	filter->unassigned[0] = '\0';
	return request_query_boolean(request,
								 "unread",
								 filter->unread,
								 &is_given) &&
		   request_query_boolean(request,
								 "unassigned",
								 filter->unassigned,
								 &is_given);
}

/* NULL for a blank value. */
static const char *
given(const char *value)
{
	return value[strspn(value, " \t")] != '\0' ? value : NULL;
}

static void
answer(Request *request,
	   const char *sql,
	   int count,
	   const char *const *values,
	   bool content)
{
	PGresult *row = call_database(request, sql, count, values, content);
	Text body = {0};

	if (row == NULL)
		return;
	text_add_string(&body, PQgetvalue(row, 0, 0));
	reply_body(request, 200, NULL, &body);
	PQclear(row);
}

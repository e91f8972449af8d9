/*
 * search.c: searches messages and conversations.
 */
#include <stdio.h>
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

/* The longest query, in bytes. */
#define QUERY_MAX 4096

#define VALUE_MAX 1024

static const char messages_sql[] =
	"SELECT msgstore.search_messages($1, $2, $3, $4, $5::timestamptz,"
	" $6::timestamptz, $7, $8::int, $9::boolean)";
static const char conversations_sql[] =
	"SELECT msgstore.search_conversations($1, $2::int, $3)";

static const char *const limit_names[] = {"limit", NULL};

typedef struct Value
{
	const char *name;
	char text[VALUE_MAX];
	bool given;
} Value;

static bool read_values(Request *request, Value *values, size_t count);
static bool read_query(Request *request, char *query, char *limit, size_t size);
static const char *text_of(const Value *value);
static void
answer(Request *request, const char *sql, int count, const char *const *values);

void
search_messages(Request *request)
{
	char query[QUERY_MAX];
	char limit[16];
	Value values[] = {{.name = "conversation"},
					  {.name = "channel"},
					  {.name = "direction"},
					  {.name = "since"},
					  {.name = "until"},
					  {.name = "after"}};
	char ranked[BOOLEAN_MAX + 1];
	bool has_ranked;

	if (!read_query(request, query, limit, sizeof(limit)) ||
		!read_values(request, values, sizeof(values) / sizeof(values[0])) ||
		!request_query_boolean(request, "ranked", ranked, &has_ranked))
		return;
	answer(request,
		   messages_sql,
		   9,
		   (const char *[]){query,
							text_of(&values[0]),
							text_of(&values[1]),
							text_of(&values[2]),
							text_of(&values[3]),
							text_of(&values[4]),
							text_of(&values[5]),
							limit,
							has_ranked ? ranked : NULL});
}

void
search_conversations(Request *request)
{
	char query[QUERY_MAX];
	char limit[16];
	Value reader = {.name = "reader"};

	if (read_query(request, query, limit, sizeof(limit)) &&
		read_values(request, &reader, 1))
		answer(request,
			   conversations_sql,
			   3,
			   (const char *[]){query, limit, text_of(&reader)});
}

static bool
read_query(Request *request, char *query, char *limit, size_t size)
{
	int number = 0; /* the database's default */
	bool given;

	query[0] = '\0';
	if (!request_query_text(request, "q", query, QUERY_MAX, &given) ||
		!request_query_number(request, limit_names, &number))
		return false;
	snprintf(limit, size, "%d", number);
	return true;
}

static bool
read_values(Request *request, Value *values, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (!request_query_text(request,
								values[i].name,
								values[i].text,
								VALUE_MAX,
								&values[i].given))
			return false;
	}
	return true;
}

static const char *
text_of(const Value *value)
{
	return value->given ? value->text : NULL;
}

/* A time that cannot be read is the client's fault. */
static void
answer(Request *request, const char *sql, int count, const char *const *values)
{
	PGresult *row = call_database(request, sql, count, values, true);
	Text body = {0};

	if (row == NULL)
		return;
	text_add_string(&body, PQgetvalue(row, 0, 0));
	reply_body(request, 200, NULL, &body);
	PQclear(row);
}

/*
 * answer.c: what the routes below /v1 share: answers, lists and ids.
 *
 * The database decides what is stored and visible. Only what is specific to
 * HTTP is checked here: ids in a path and values in a query.
 */
#include <stdio.h>
#include <string.h>

#include "http/parameters.h"
#include "http/reply.h"
#include "routes/answer.h"
#include "routes/call.h"

static bool check_limit(Request *request, const char *limit);

void
answer_row(Request *request,
		   const char *sql,
		   int count,
		   const char *const *values)
{
	PGresult *row =
		call_database(request, sql, count, values, request->body.length > 0);
	Text body = {0};
	bool streams;

	if (row == NULL)
		return;
	streams = PQnfields(row) > 2 && strcmp(PQgetvalue(row, 0, 2), "t") == 0;
	request->reply.created = strcmp(PQgetvalue(row, 0, 0), "t") == 0;
	text_add_string(&body, PQgetvalue(row, 0, 1));
	reply_body(request, 200, streams ? "text/event-stream" : NULL, &body);
	PQclear(row);
}

void
answer_list(Request *request, const char *sql)
{
	ListQuery query = {0};

	if (read_list_query(request, &query))
		answer_row(request,
				   sql,
				   5,
				   (const char *[]){request->segment,
									query.after,
									query.before,
									query.limit,
									query.order});
}

/* The database accepts any text as an id; a path only these characters. */
bool
check_path_id(Request *request,
			  const char *id,
			  const char *parameter,
			  const char *message)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								  "abcdefghijklmnopqrstuvwxyz0123456789_.:-";

	if (strlen(id) <= RESPONSE_ID_MAX && strspn(id, letters) == strlen(id))
		return true;
	return refuse_parameter(request, parameter, message);
}

bool
read_list_query(Request *request, ListQuery *query)
{
	static const struct
	{
		const char *name;
		size_t size;
	} parameters[] = {{"after", CURSOR_MAX + 1},
					  {"before", CURSOR_MAX + 1},
					  {"limit", 16},
					  {"order", 16}};
	const char **const values[] = {&query->after,
								   &query->before,
								   &query->limit,
								   &query->order};

	for (int i = 0; i < 4; i++)
	{
		bool given;

		if (!request_query_text(request,
								parameters[i].name,
								query->bytes[i],
								parameters[i].size,
								&given))
			return false;
		*values[i] = given ? query->bytes[i] : NULL;
	}
	if (query->after != NULL && query->before != NULL)
		return refuse_parameter(request,
								"before",
								"parameters \"after\" and \"before\" cannot "
								"be combined");
	return query->limit == NULL || check_limit(request, query->limit);
}

/* The database clamps large values; nine digits always fit into an int. */
static bool
check_limit(Request *request, const char *limit)
{
	size_t length = strlen(limit);

	if (length > 0 && length < 10 && strspn(limit, "0123456789") == length &&
		strspn(limit, "0") < length)
		return true;
	return refuse_parameter(request,
							"limit",
							"parameter \"limit\" is not a positive number");
}

bool
refuse_parameter(Request *request, const char *parameter, const char *message)
{
	snprintf(request->reply.param,
			 sizeof(request->reply.param),
			 "%s",
			 parameter);
	reply_error(request, 400, message);
	return false;
}

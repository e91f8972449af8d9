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
		return refuse_parameter(request,
								"before",
								"parameters \"after\" and \"before\" cannot "
								"be combined");
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

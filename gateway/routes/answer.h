/*
 * answer.h: what the routes below /v1 share: answers, lists and ids.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>

#include "exchange.h"

/* The parameters of a list: valid, or NULL if they are not given. */
typedef struct ListQuery
{
	const char *after;
	const char *before;
	const char *limit;
	const char *order;
	char bytes[4][CURSOR_MAX + 1];
} ListQuery;

/*
 * Answers with the row of a statement: whether it created something, the body,
 * and optionally whether the body is a stream of events.
 */
void answer_row(Request *request,
				const char *sql,
				int count,
				const char *const *values);

/* Answers with the list of what belongs to the segment of the path. */
void answer_list(Request *request, const char *sql);

/* The rest return false after answering 400. */
bool check_path_id(Request *request,
				   const char *id,
				   const char *parameter,
				   const char *message);
bool read_list_query(Request *request, ListQuery *query);
bool
refuse_parameter(Request *request, const char *parameter, const char *message);

#endif /* ANSWER_H */

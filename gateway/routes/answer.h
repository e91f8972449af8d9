/*
 * answer.h: what the routes below /v1 share: answers, lists and ids.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include <stdbool.h>

#include "exchange.h"

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

/*
 * Answers with the row of a statement: whether it created something, the body,
 * and optionally whether the body is a stream of events.
 */
void answer_row(Request *request,
				const char *sql,
				int count,
				const char *const *values);

/* The rest return false after answering 400. */
bool check_path_id(Request *request,
				   const char *id,
				   const char *parameter,
				   const char *message);
bool read_list_query(Request *request, ListQuery *query);
bool
refuse_parameter(Request *request, const char *parameter, const char *message);

#endif /* ANSWER_H */

/*
 * table.h: the table of routes: what a request is matched with and checked
 * for, and what GET /openapi.json tells about it.
 */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "caller.h"
#include "exchange.h"

#define ROUTE_STATUSES 3

typedef struct Route
{
	const char *method;
	const char
		*path; /* {name}, at most twice, is a segment; NULL: HEALTH_PATH */
	void (*handler)(Request *request);
	Scope scope;	   /* required of the key; none for probes */
	bool guarded;	   /* has a breaker and rate limits */
	const char *type;  /* another type than JSON that it can return */
	const char *query; /* its parameters; NULL: the query is ignored */
	const char *body;  /* schema of the JSON body; NULL: it takes no body */
	bool raw;		   /* takes any body, answers with any type */
	/* Comes before the body; returns false after answering. */
	bool (*prepare)(Request *request);

	/* Only for the document. */
	const char *name; /* NULL: it is left out */
	const char *summary;
	bool keyed;					  /* an idempotency key has an effect */
	bool conditional;			  /* If-Match and If-None-Match have */
	const char *answer;			  /* schema of the answer; NULL: bytes */
	int statuses[ROUTE_STATUSES]; /* of that answer */
	int refusals[ROUTE_STATUSES]; /* besides those of the common checks */
} Route;

extern const Route routes[];
extern const int routes_count;

#endif /* TABLE_H */

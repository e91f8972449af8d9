/*
 * parameters.h: a request's idempotency key and the parameters of its query.
 *
 * These functions answer the request and return false if a value is invalid.
 */
#ifndef PARAMETERS_H
#define PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>

#include "exchange.h"

#define BOOLEAN_MAX 7

/* Sets request->key; "" if the header is missing or blank. */
bool request_read_key(Request *request);

/*
 * Reads the first of these parameters that is present and not blank; leaves
 * number as it is if there is none. The list of names ends with NULL.
 */
bool
request_query_number(Request *request, const char *const *names, int *number);

/* A blank value counts as none. */
bool request_query_text(Request *request,
						const char *name,
						char *value,
						size_t size,
						bool *given);

/* Reads "true" or "false" into a value of BOOLEAN_MAX + 1 bytes. */
bool request_query_boolean(Request *request,
						   const char *name,
						   char *value,
						   bool *given);

/*
 * Checks that the query has no other parameters than these: a list of names
 * that are separated by blanks.
 */
bool request_check_query(Request *request, const char *names);

#endif /* PARAMETERS_H */

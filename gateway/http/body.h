/*
 * body.h: reads the body of a request and the members of its JSON.
 */
#ifndef BODY_H
#define BODY_H

#include <stdbool.h>
#include <stddef.h>

#include "exchange.h"

struct cJSON;

/* Both answer the request and return false if the body is not acceptable. */
bool request_read_body(Request *request);
bool request_check_json(Request *request);

/*
 * The member of that name, or NULL. Of duplicates the last one counts, as in
 * jsonb, so that the gateway looks at the same value that is stored.
 */
const struct cJSON *request_json_member(const struct cJSON *object,
										const char *name);

/* Copies a string member of the body; returns false if there is none. */
bool request_body_member(const Request *request,
						 const char *name,
						 char *value,
						 size_t size);

#endif /* BODY_H */

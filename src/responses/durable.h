/*
 * responses/durable.h: the durable store, the table of responses.
 *
 * Each call connects to SPI by itself. Results are in the caller's context.
 */
#ifndef RESPONSES_DURABLE_H
#define RESPONSES_DURABLE_H

#include "nodes/pg_list.h"

#include "responses/response.h"

/* False: the ID is in use. */
extern bool responses_durable_insert(const Response *response);

/* The response of any owner, deleted or not, or NULL. */
extern Response *
responses_durable_find(const char *tenant_id, const char *id, bool lock);

/* The first tenant that has a response with this ID, or NULL. */
extern char *responses_durable_tenant(const char *id, bool *several);

/* The response and its ancestors, nearest first, at most so many. */
extern List *
responses_durable_find_chain(const char *tenant_id, const char *id, int steps);
extern void responses_durable_update(const Response *response);

/* The oldest queued background response, locked; false: there is none. */
extern bool responses_durable_next_queued(const char *tenant_id,
										  ResponseKey *key);

#endif /* RESPONSES_DURABLE_H */

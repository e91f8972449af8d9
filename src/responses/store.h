/*
 * responses/store.h: finds and changes responses in the store that the session
 * uses, msgstore.response_store.
 */
#ifndef RESPONSES_STORE_H
#define RESPONSES_STORE_H

#include "responses/response.h"

/* The response of any owner, deleted or not, or NULL. */
extern Response *responses_find(const ResponseKey *key);

/*
 * The tenant of the response with this ID: the session's. A session without a
 * tenant sees all: its own response with this ID, or the only one of another
 * tenant. NULL if there is none; MS409 if there are several.
 */
extern const char *responses_find_tenant(const char *id);

/*
 * Changes a response. The change works on a copy, and is called again if
 * another session was faster. If it returns false, nothing is stored and the
 * result is NULL, as for a response that does not exist.
 */
typedef bool (*ResponsesChange)(Response *response, void *arg);
extern Response *
responses_change(const ResponseKey *key, ResponsesChange change, void *arg);

/* False: the ID is in use. */
extern bool responses_insert(const Response *response);

/* The oldest queued background response of the tenant; false: none. */
extern bool responses_next_queued(const char *tenant_id, ResponseKey *key);

#endif /* RESPONSES_STORE_H */

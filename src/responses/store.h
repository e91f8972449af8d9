/*
 * responses/store.h: finds and changes responses in the store that the session
 * uses, msgstore.response_store.
 */
#ifndef RESPONSES_STORE_H
#define RESPONSES_STORE_H

#include "responses/response.h"

/* The response of any tenant and owner, deleted or not, or NULL. */
extern Response *responses_find(const char *id);

/*
 * Changes a response. The change works on a copy, and is called again if
 * another session was faster. If it returns false, nothing is stored and the
 * result is NULL, as for a response that does not exist.
 */
typedef bool (*ResponsesChange)(Response *response, void *arg);
extern Response *
responses_change(const char *id, ResponsesChange change, void *arg);

/* False: the ID is in use. */
extern bool responses_insert(const Response *response);

/* The ID of the oldest queued background response of the tenant, or NULL. */
extern char *responses_next_queued(const char *tenant_id);

#endif /* RESPONSES_STORE_H */

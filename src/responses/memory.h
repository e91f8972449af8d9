/*
 * responses/memory.h: the in-memory store of this database.
 *
 * Bounded and not transactional: a response is visible as soon as it is saved,
 * and a rollback does not undo that. Reading a document counts as a use, and so
 * does finding a response if the caller says so.
 */
#ifndef RESPONSES_MEMORY_H
#define RESPONSES_MEMORY_H

#include "responses/response.h"

/*
 * Does the session use the in-memory store? Raises MS503 if it asks for it and
 * msgstore is not preloaded.
 */
extern bool responses_are_in_memory(void);

/* False: the ID is in use. Raises MS413 for a response that cannot fit. */
extern bool responses_memory_insert(const Response *response);

/* The response of any owner, deleted or not, or NULL. */
extern Response *
responses_memory_find(const char *tenant_id, const char *id, bool is_use);

/*
 * A tenant that has a response with this ID, "" if that has, or NULL; several
 * tells whether it is one of several.
 */
extern char *responses_memory_tenant(const char *id, bool *several);

/* The document of a response that the session may read, or NULL. */
extern Jsonb *responses_memory_document(const char *tenant_id,
										const char *id,
										bool deleted_too);

/* False: the response was changed or dropped since it was found. */
extern bool responses_memory_update(const Response *response);

/* The oldest queued background response; false: there is none. */
extern bool responses_memory_next_queued(const char *tenant_id,
										 ResponseKey *key);

#endif /* RESPONSES_MEMORY_H */

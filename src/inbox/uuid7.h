/*
 * inbox/uuid7.h: ids generated in the server.
 */
#ifndef INBOX_UUID7_H
#define INBOX_UUID7_H

#include "utils/uuid.h"

/*
 * Generates a UUID of version 7, greater than all that this backend has
 * generated before.
 */
extern void inbox_make_uuid7(pg_uuid_t *uuid);

/* The same, palloc'd in the current memory context. */
extern pg_uuid_t *inbox_new_uuid7(void);

#endif /* INBOX_UUID7_H */

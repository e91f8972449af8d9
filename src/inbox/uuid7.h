/*
 * inbox/uuid7.h: ids generated in the server.
 */
#ifndef INBOX_UUID7_H
#define INBOX_UUID7_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/*
 * Generates a UUID of version 7, greater than all that this backend has
 * generated before.
 */
extern void inbox_make_uuid7(pg_uuid_t *uuid);

/* The same, palloc'd in the current memory context. */
extern pg_uuid_t *inbox_new_uuid7(void);

/* Returns the time at which the id was generated. */
extern TimestampTz inbox_time_of_uuid7(const pg_uuid_t *uuid);

#endif /* INBOX_UUID7_H */

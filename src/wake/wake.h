/*
 * wake/wake.h: how transactions tell the workers what they changed.
 */
#ifndef WAKE_WAKE_H
#define WAKE_WAKE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* At commit, makes the workers of this database search the whole queue. */
extern void wake_at_commit(void);

/*
 * The same if the current transaction or subtransaction rolls back, which
 * releases the events or lanes that it holds.
 */
extern void wake_at_abort(void);

/* At commit, tells them of a new event, a retry, or the expiry of a claim. */
extern void wake_for_event(const pg_uuid_t *id, int lane);
extern void wake_for_retry(TimestampTz at, int lane);
extern void wake_for_claim(TimestampTz expiry);

/* For _PG_init. */
extern void wake_init(void);

#endif /* WAKE_WAKE_H */

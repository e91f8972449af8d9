/*
 * wake/wake.h: how transactions tell the workers what they changed.
 */
#ifndef WAKE_WAKE_H
#define WAKE_WAKE_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* At commit, the workers of this database look at all of its queue. */
extern void wake_at_commit(void);

/*
 * The same when the transaction, or the subtransaction, rolls back: it lets go
 * of events or lanes it held.
 */
extern void wake_at_abort(void);

/* At commit, they find a fresh event, a retry, a claim that will expire. */
extern void wake_for_event(const pg_uuid_t *id, int lane);
extern void wake_for_retry(TimestampTz at, int lane);
extern void wake_for_claim(TimestampTz expiry);

/* For _PG_init. */
extern void wake_init(void);

#endif /* WAKE_WAKE_H */

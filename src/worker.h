/*
 * worker.h: the background workers, as sessions and the module's door see them.
 */
#ifndef WORKER_H
#define WORKER_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* At commit, the workers of this database look at all of its queue. */
extern void worker_wake_at_commit(void);

/*
 * The same when the transaction, or the subtransaction, rolls back: it lets go
 * of events or lanes it held.
 */
extern void worker_wake_at_abort(void);

/* At commit, they find a fresh event, a retry, a claim that will expire. */
extern void worker_wake_for_event(const pg_uuid_t *id, int lane);
extern void worker_wake_for_retry(TimestampTz at, int lane);
extern void worker_wake_for_claim(TimestampTz expiry);

/* For _PG_init: hooks, and the launcher when the module is preloaded. */
extern void worker_init(void);
extern void worker_shmem_request(void);
extern void worker_shmem_startup(void);

#endif /* WORKER_H */

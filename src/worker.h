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

/*
 * The outbox is the business of the worker that has the first lane. At commit,
 * it learns that there is something to send, or that something will be due.
 */
#define WORKER_OUTBOX_LANES UINT64CONST(1)

extern void worker_wake_outbox_at_commit(void);
extern void worker_watch_outbox_at_commit(void);

/*
 * In that worker's transaction, connected to SPI: at its commit those who
 * LISTEN to msgstore_outbox are told if there is something to send; leases that
 * have ended by the given time are reaped. Returns when to do that again,
 * DT_NOEND when nothing is known of.
 */
extern TimestampTz worker_outbox_notify(TimestampTz due);

/* For _PG_init: hooks, and the launcher when the module is preloaded. */
extern void worker_init(void);
extern void worker_shmem_request(void);
extern void worker_shmem_startup(void);
extern void worker_outbox_init(void);
extern void worker_outbox_shmem_request(void);
extern void worker_outbox_shmem_startup(void);

#endif /* WORKER_H */

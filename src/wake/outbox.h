/*
 * wake/outbox.h: how commits tell senders that there is something to send.
 */
#ifndef WAKE_OUTBOX_H
#define WAKE_OUTBOX_H

#include "datatype/timestamp.h"

/*
 * The worker that owns the first lane looks after the outbox. These tell it at
 * commit that there is something to send, or that something will become due.
 */
#define WAKE_OUTBOX_LANES UINT64CONST(1)

extern void wake_outbox_at_commit(void);
extern void wake_watch_outbox_at_commit(void);

/*
 * Called in that worker's transaction, connected to SPI. Releases leases that
 * ended by the given time, and notifies the listeners of msgstore_outbox if
 * there is something to send. Returns when to call it again, or DT_NOEND.
 */
extern TimestampTz wake_notify_senders(TimestampTz due);

/* For _PG_init and the hooks of shared memory. */
extern void wake_outbox_init(void);
extern void wake_outbox_shmem_request(void);
extern void wake_outbox_shmem_startup(void);

#endif /* WAKE_OUTBOX_H */

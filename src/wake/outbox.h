/*
 * wake/outbox.h: how commits tell senders that there is something to send.
 */
#ifndef WAKE_OUTBOX_H
#define WAKE_OUTBOX_H

#include "datatype/timestamp.h"

/*
 * The outbox is the business of the worker that has the first lane. At commit,
 * it learns that there is something to send, or that something will be due.
 */
#define WAKE_OUTBOX_LANES UINT64CONST(1)

extern void wake_outbox_at_commit(void);
extern void wake_watch_outbox_at_commit(void);

/*
 * In that worker's transaction, connected to SPI: at its commit those who
 * LISTEN to msgstore_outbox are told if there is something to send; leases that
 * have ended by the given time are reaped. Returns when to do that again,
 * DT_NOEND when nothing is known of.
 */
extern TimestampTz wake_notify_senders(TimestampTz due);

/* For _PG_init and the hooks of shared memory. */
extern void wake_outbox_init(void);
extern void wake_outbox_shmem_request(void);
extern void wake_outbox_shmem_startup(void);

#endif /* WAKE_OUTBOX_H */

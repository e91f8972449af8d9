/*
 * live/live.h: tells live readers what a transaction has changed.
 */
#ifndef LIVE_H
#define LIVE_H

#include "fmgr.h"
#include "utils/uuid.h"

/* A message, conversation, dead letter or operation that changed. */
typedef struct LiveChange
{
	const text *tenant_id;
	pg_uuid_t id;
} LiveChange;

/*
 * Adds rows to msgstore.live_changes, one for the changes of each tenant, and
 * wakes the readers at commit. Sorts the changes by tenant. The caller is
 * connected to SPI.
 */
extern void live_put(const char *kind, LiveChange *changes, int n);

/*
 * Removes rows that are older than msgstore.live_history, at most once in a
 * minute. The caller is connected to SPI.
 */
extern void live_purge(void);

/* For _PG_init: transaction hook; size and set-up of shared memory. */
extern void live_init(void);
extern void live_shmem_request(void);
extern void live_shmem_startup(void);

/* At commit, wakes the sessions that wait for changes. */
extern void live_wake_at_commit(void);

#endif /* LIVE_H */

/*
 * module.c: the entry point of the library: magic block, _PG_init, hooks of
 * shared memory.
 *
 * A session that loads the library without preloading has no shared memory:
 * events are stored, and process() applies them. A preloaded library also
 * runs the workers.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"

#include "inbox/payload.h"
#include "live/live.h"
#include "responses/responses.h"
#include "server/settings.h"
#include "stats/stats.h"
#include "streams/streams.h"
#include "wake/changes.h"
#include "wake/outbox.h"
#include "wake/shared.h"
#include "wake/wake.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

void _PG_init(void);

static void request_shmem(void);
static void start_shmem(void);

void
_PG_init(void)
{
	settings_define(inbox_assign_redact_keys);
	stats_init();
	live_init();
	streams_init();
	wake_init();
	wake_outbox_init();
	wake_changes_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	worker_init();
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shmem;
}

static void
request_shmem(void)
{
	if (next_shmem_request)
		next_shmem_request();
	responses_shmem_request();
	live_shmem_request();
	stats_shmem_request();
	streams_shmem_request();
	wake_shmem_request();
	wake_outbox_shmem_request();
}

static void
start_shmem(void)
{
	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	responses_shmem_startup();
	live_shmem_startup();
	stats_shmem_startup();
	streams_shmem_startup();
	wake_shmem_startup();
	wake_outbox_shmem_startup();
	LWLockRelease(AddinShmemInitLock);
}

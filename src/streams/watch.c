/*
 * streams/watch.c: tells a worker that there are events for projections.
 *
 * A commit that appended events reads a count for each bucket of its
 * categories. Where a worker watches, it increments a counter and wakes the
 * worker of its database. The worker remembers which values it has seen, so
 * databases may share a bucket.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "streams/streams.h"
#include "streams/watch.h"
#include "wake/outbox.h"
#include "wake/shared.h"

typedef struct WatchBucket
{
	pg_atomic_uint32 watchers; /* workers */
	pg_atomic_uint32 appends;  /* commits while there were any */
} WatchBucket;

static WatchBucket *shared = NULL;

/* What this worker watches, and the counters that it has seen. */
static uint64 watched = 0;
static uint32 seen[STREAMS_BUCKETS];

static void stop_watching(int code, Datum arg);

bool
streams_watch(uint64 buckets)
{
	static bool registered = false;
	uint64 changed = buckets ^ watched;
	int i;

	if (shared == NULL)
		return false;
	if (!registered)
		before_shmem_exit(stop_watching, (Datum) 0);
	registered = true;
	watched = buckets;
	for (i = 0; i < STREAMS_BUCKETS && changed >> i != 0; i++)
	{
		if ((changed >> i & 1) == 0)
			continue;
		if ((buckets >> i & 1) != 0)
			pg_atomic_fetch_add_u32(&shared[i].watchers, 1);
		else
			pg_atomic_fetch_sub_u32(&shared[i].watchers, 1);
	}
	return changed != 0;
}

static void
stop_watching(int code, Datum arg)
{
	(void) code;
	(void) arg;
	(void) streams_watch(0);
}

bool
streams_has_watched(void)
{
	int i;

	for (i = 0; i < STREAMS_BUCKETS && watched >> i != 0; i++)
	{
		if ((watched >> i & 1) != 0 &&
			pg_atomic_read_u32(&shared[i].appends) != seen[i])
			return true;
	}
	return false;
}

void
streams_take_watched(void)
{
	int i;

	for (i = 0; shared != NULL && i < STREAMS_BUCKETS; i++)
		seen[i] = pg_atomic_read_u32(&shared[i].appends);
}

void
streams_tell_watchers(uint64 buckets)
{
	bool tell = false;
	WorkerNews nothing;
	int i;

	for (i = 0; shared != NULL && buckets != 0; i++, buckets >>= 1)
	{
		if ((buckets & 1) == 0 || pg_atomic_read_u32(&shared[i].watchers) == 0)
			continue;
		pg_atomic_fetch_add_u32(&shared[i].appends, 1);
		tell = true;
	}
	if (!tell)
		return;
	wake_clear_news(&nothing);
	wake_workers(MyDatabaseId, WAKE_OUTBOX_LANES, &nothing);
}

void
streams_watch_shmem_request(void)
{
	RequestAddinShmemSpace(sizeof(WatchBucket) * STREAMS_BUCKETS);
}

void
streams_watch_shmem_startup(void)
{
	bool found;
	int i;

	shared = ShmemInitStruct("msgstore stream watches",
							 sizeof(WatchBucket) * STREAMS_BUCKETS,
							 &found);
	for (i = 0; !found && i < STREAMS_BUCKETS; i++)
	{
		pg_atomic_init_u32(&shared[i].watchers, 0);
		pg_atomic_init_u32(&shared[i].appends, 0);
	}
}

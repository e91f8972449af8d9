/*
 * live/wait.c: waiting for changes, and waking at commit.
 *
 * In shared memory, the databases share 16 counters of commits with changes by
 * a hash. A reader takes the count, looks for changes, and sleeps until the
 * count is another one: a commit that it did not see has raised it. A commit
 * costs an addition, and a broadcast if somebody sleeps. NOTIFY would serialize
 * the commits of all databases instead, and needs a session of its own behind a
 * pooler. Without shared memory, and for transactions that another session
 * prepared, readers look again at intervals.
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

#include "live/live.h"

#define COUNTERS 16

/* Without shared memory, a waiting session looks at this interval. */
#define LOOK_EVERY_MS 100

/* COMMIT PREPARED wakes nobody: where it is possible, they look now and then.
 */
#define LOOK_FOR_PREPARED_MS 1000

typedef struct LiveCounter
{
	pg_atomic_uint64 commits;
	pg_atomic_uint32 sleepers;
	ConditionVariable changed;
} LiveCounter;

static LiveCounter *shared = NULL;

/* Whether the open transaction has changes to tell. */
static bool has_changes = false;

static LiveCounter *own_counter(void);
static void sleep_for_change(uint64 seen, long ms);
static void give_back_snapshot(const FunctionCallInfo fcinfo);
static void sleep_until_change(LiveCounter *counter, uint64 seen, long ms);
static void sleep_alone(long ms);
static void leave(int code, Datum counter);
static void at_transaction_end(XactEvent event, void *arg);

PG_FUNCTION_INFO_V1(msgstore_live_count);
PG_FUNCTION_INFO_V1(msgstore_live_sleep);
PG_FUNCTION_INFO_V1(msgstore_live_wait);

/* _live_count() */
Datum
msgstore_live_count(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT64(shared == NULL
						? 0
						: (int64) pg_atomic_read_u64(&own_counter()->commits));
}

/* _live_sleep(count, milliseconds) */
Datum
msgstore_live_sleep(PG_FUNCTION_ARGS)
{
	sleep_for_change((uint64) PG_GETARG_INT64(0), PG_GETARG_INT32(1));
	PG_RETURN_VOID();
}

/* The procedure _live_wait(count, milliseconds) */
Datum
msgstore_live_wait(PG_FUNCTION_ARGS)
{
	uint64 seen = (uint64) PG_GETARG_INT64(0);
	long ms = PG_GETARG_INT32(1);

	give_back_snapshot(fcinfo);
	sleep_for_change(seen, ms);
	PG_RETURN_VOID();
}

void
live_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
live_shmem_request(void)
{
	RequestAddinShmemSpace(sizeof(LiveCounter) * COUNTERS);
}

void
live_shmem_startup(void)
{
	bool found;
	int i;

	shared = ShmemInitStruct("msgstore live",
							 sizeof(LiveCounter) * COUNTERS,
							 &found);
	for (i = 0; !found && i < COUNTERS; i++)
	{
		pg_atomic_init_u64(&shared[i].commits, 0);
		pg_atomic_init_u32(&shared[i].sleepers, 0);
		ConditionVariableInit(&shared[i].changed);
	}
}

void
live_wake_at_commit(void)
{
	has_changes = true;
}

static LiveCounter *
own_counter(void)
{
	return &shared[murmurhash32((uint32) MyDatabaseId) % COUNTERS];
}

/*
 * Whoever waits all the time must not keep dead rows from being removed. A
 * commit leaves the session without a snapshot; in a transaction block there
 * can be none.
 */
static void
give_back_snapshot(const FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		return;
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	SPI_finish();
}

static void
sleep_for_change(uint64 seen, long ms)
{
	if (max_prepared_xacts > 0)
		ms = Min(ms, LOOK_FOR_PREPARED_MS);
	if (ms <= 0)
		return;
	if (shared != NULL)
		sleep_until_change(own_counter(), seen, ms);
	else
		sleep_alone(Min(ms, LOOK_EVERY_MS));
}

/*
 * It is counted and listed as a sleeper before it compares the counts, so a
 * commit that counts afterwards finds it there.
 */
static void
sleep_until_change(LiveCounter *counter, uint64 seen, long ms)
{
	PG_ENSURE_ERROR_CLEANUP(leave, PointerGetDatum(counter));
	{
		pg_atomic_fetch_add_u32(&counter->sleepers, 1);
		ConditionVariablePrepareToSleep(&counter->changed);
		if (pg_atomic_read_u64(&counter->commits) == seen)
			ConditionVariableTimedSleep(&counter->changed,
										ms,
										PG_WAIT_EXTENSION);
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave, PointerGetDatum(counter));
	leave(0, PointerGetDatum(counter));
}

static void
sleep_alone(long ms)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
leave(int code, Datum counter)
{
	(void) code;
	pg_atomic_fetch_sub_u32(
		&((LiveCounter *) DatumGetPointer(counter))->sleepers,
		1);
}

/* The server calls this for COMMIT when other snapshots show the changes. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	bool tells = has_changes && event == XACT_EVENT_COMMIT;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	has_changes = false;
	if (!tells || shared == NULL)
		return;
	/* A full barrier: the sleepers are read after the addition. */
	(void) pg_atomic_fetch_add_u64(&own_counter()->commits, 1);
	if (pg_atomic_read_u32(&own_counter()->sleepers) > 0)
		ConditionVariableBroadcast(&own_counter()->changed);
}

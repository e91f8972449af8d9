/*
 * streams/wait.c: waiting for events, and waking at commit.
 *
 * In shared memory, each category has one of 64 condition variables with a
 * count of its waiters. A transaction that appended events remembers their
 * categories as bits and at commit broadcasts to those that have waiters, so a
 * commit that nobody waits for only reads the counts. Without shared memory,
 * and on a standby, waiting sessions look again at intervals.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"

/* Bits of a transaction's mask. Categories with the same bit wake together. */
#define WAKE_BUCKETS 64

/* Without shared memory, a waiting session looks at this interval. */
#define LOOK_EVERY_MS 100

typedef struct WakeBucket
{
	pg_atomic_uint32 waiters;
	ConditionVariable changed;
} WakeBucket;

/* Result of looking for an event. */
typedef enum Found
{
	FOUND_NOTHING,
	FOUND_UNSETTLED,
	FOUND_EVENT
} Found;

static Statement first_of_all = {
	.sql = "SELECT global_position FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND global_position > $2"
		   " ORDER BY global_position LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "stream_events"};

static Statement first_of_category = {
	.sql = "SELECT global_position FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND category = $3 AND global_position > $2"
		   " ORDER BY global_position LIMIT 1",
	.nargs = 3,
	.argtypes = {TEXTOID, INT8OID, TEXTOID},
	.table = "stream_events"};

static WakeBucket *shared = NULL;

/* Buckets to wake when the open transaction commits. */
static uint64 wake_mask = 0;

static int bucket_of(const text *category);
static bool wait_shared(text *category, int64 after, TimestampTz deadline);
static bool wait_alone(text *category, int64 after, TimestampTz deadline);
static Found look(text *category, int64 after);
static long milliseconds_to(TimestampTz deadline);
static void leave_bucket(int code, Datum bucket);

PG_FUNCTION_INFO_V1(msgstore_wait_for_events);
PG_FUNCTION_INFO_V1(msgstore_wake_at_commit);

Datum
msgstore_wait_for_events(PG_FUNCTION_ARGS)
{
	text *category = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	int64 after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = DT_NOEND;

	if (!PG_ARGISNULL(2))
		deadline =
			DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(now),
													PG_GETARG_DATUM(2)));
	if (deadline < now)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("argument \"timeout\" is negative"),
			 errdetail(
				 "The timeout must be an interval of zero or more, or null for no timeout.")));
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg(
				 "cannot wait for events in a transaction that is not READ COMMITTED"),
			 errdetail(
				 "Its snapshot does not show events that are committed after its first statement."),
			 errhint("Use a READ COMMITTED transaction.")));
	if (shared != NULL && !RecoveryInProgress())
		PG_RETURN_BOOL(wait_shared(category, after, deadline));
	PG_RETURN_BOOL(wait_alone(category, after, deadline));
}

Datum
msgstore_wake_at_commit(PG_FUNCTION_ARGS)
{
	streams_wake_at_commit(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

void
streams_wake_at_commit(const text *category)
{
	wake_mask |= UINT64CONST(1) << bucket_of(category);
}

void
streams_wake_waiters(void)
{
	uint64 mask = wake_mask;
	int i;

	wake_mask = 0;
	if (shared == NULL)
		return;
	mask |= UINT64CONST(1) << bucket_of(NULL);
	/* The slot is cleared before the waiters are counted; see wait_shared(). */
	pg_memory_barrier();
	for (i = 0; mask != 0; i++, mask >>= 1)
	{
		WakeBucket *bucket = &shared[i];

		if ((mask & 1) != 0 && pg_atomic_read_u32(&bucket->waiters) > 0)
			ConditionVariableBroadcast(&bucket->changed);
	}
}

void
streams_wait_shmem_request(void)
{
	RequestAddinShmemSpace(sizeof(WakeBucket) * WAKE_BUCKETS);
}

void
streams_wait_shmem_startup(void)
{
	bool found;
	int i;

	shared = ShmemInitStruct("msgstore stream waits",
							 sizeof(WakeBucket) * WAKE_BUCKETS,
							 &found);
	for (i = 0; !found && i < WAKE_BUCKETS; i++)
	{
		pg_atomic_init_u32(&shared[i].waiters, 0);
		ConditionVariableInit(&shared[i].changed);
	}
}

/* NULL: the bucket of sessions that wait for any event of the database. */
static int
bucket_of(const text *category)
{
	uint32 hash = murmurhash32((uint32) MyDatabaseId);

	if (category != NULL)
		hash = hash_combine(
			hash,
			hash_bytes((const unsigned char *) VARDATA_ANY(category),
					   VARSIZE_ANY_EXHDR(category)));
	return hash % WAKE_BUCKETS;
}

/*
 * Waits in the bucket of the category, which commits to it wake. Once there is
 * an event that is not settled, the end of any transaction may settle it, so it
 * waits in the bucket that all transactions wake. It is counted and listed as a
 * waiter before it looks, so a transaction that ends afterwards finds it there.
 */
static bool
wait_shared(text *category, int64 after, TimestampTz deadline)
{
	int any = bucket_of(NULL);
	int place = category == NULL ? any : bucket_of(category);
	Found found = FOUND_NOTHING;
	bool late = false;

	while (found != FOUND_EVENT && !late)
	{
		WakeBucket *bucket = &shared[place];

		PG_ENSURE_ERROR_CLEANUP(leave_bucket, PointerGetDatum(bucket));
		{
			pg_atomic_fetch_add_u32(&bucket->waiters, 1);
			ConditionVariablePrepareToSleep(&bucket->changed);
			for (;;)
			{
				long left = milliseconds_to(deadline);

				found = look(category, after);
				late = left == 0;
				if (found == FOUND_EVENT || late ||
					(found == FOUND_UNSETTLED && place != any))
					break;
				ConditionVariableTimedSleep(&bucket->changed,
											left,
											PG_WAIT_EXTENSION);
			}
			ConditionVariableCancelSleep();
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_bucket, PointerGetDatum(bucket));
		leave_bucket(0, PointerGetDatum(bucket));
		place = any;
	}
	return found == FOUND_EVENT;
}

static bool
wait_alone(text *category, int64 after, TimestampTz deadline)
{
	for (;;)
	{
		long left = milliseconds_to(deadline);

		if (look(category, after) == FOUND_EVENT)
			return true;
		if (left == 0)
			return false;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, LOOK_EVERY_MS),
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Connects to SPI each time, so that waiting does not accumulate memory. */
static Found
look(text *category, int64 after)
{
	Found found = FOUND_NOTHING;
	Datum values[3];
	int64 settled;
	bool isnull;

	SPI_connect();
	settled = streams_settled_position();
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(after);
	values[2] = PointerGetDatum(category);
	statement_execute(category == NULL ? &first_of_all : &first_of_category,
					  values,
					  NULL);
	if (SPI_processed > 0)
		found = DatumGetInt64(statement_value(0, 1, &isnull)) <= settled
					? FOUND_EVENT
					: FOUND_UNSETTLED;
	SPI_finish();
	return found;
}

/* 0 if the deadline has passed, at most an hour. */
static long
milliseconds_to(TimestampTz deadline)
{
	TimestampTz now = GetCurrentTimestamp();

	if (deadline <= now)
		return 0;
	return (long) Min((deadline - now) / 1000 + 1, 3600 * 1000);
}

static void
leave_bucket(int code, Datum bucket)
{
	(void) code;
	pg_atomic_fetch_sub_u32(&((WakeBucket *) DatumGetPointer(bucket))->waiters,
							1);
}

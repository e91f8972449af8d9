/*
 * streams/wait.c: waiting for events, and waking at commit.
 *
 * In shared memory, each category has one of 64 condition variables with a
 * count of its waiters. A transaction that appended events remembers their
 * categories as bits and at commit broadcasts to those that have waiters, so a
 * commit that nobody waits for only reads the counts. Without shared memory,
 * and on a standby, waiting sessions look again at intervals. Sessions that
 * wait for a subscription use the buckets in the same way, with ack() as the
 * writer.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"
#include "streams/watch.h"

/* Without shared memory, a waiting session looks at this interval. */
#define LOOK_EVERY_MS 100

typedef struct WakeBucket
{
	pg_atomic_uint32 waiters;
	ConditionVariable changed;
} WakeBucket;

/* Result of looking; also the numbers that SQL functions return. */
typedef enum StreamFound
{
	FOUND_NOTHING,
	FOUND_UNSETTLED, /* an event that is not settled */
	FOUND_ALL		 /* what it waits for */
} StreamFound;

/* What msgstore_wait_for_events() and msgstore_await_events() wait for. */
typedef struct EventWait
{
	text *category; /* NULL: any */
	int64 after;
} EventWait;

/* What msgstore_wait_for() waits for. */
typedef struct AckWait
{
	text *subscription;
	int64 position;
} AckWait;

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

/* For a caller that may not read the table. */
static Statement find_event = {.sql = "SELECT msgstore._find_event($1, $2)",
							   .nargs = 2,
							   .argtypes = {TEXTOID, INT8OID}};

static Statement has_acknowledged = {
	.sql = "SELECT msgstore._has_acknowledged($1, $2)",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID}};

static WakeBucket *shared = NULL;

/*
 * Buckets to wake when the open transaction commits: for events, after its slot
 * is cleared, and for acknowledgements.
 */
static uint64 wake_mask = 0;
static uint64 ack_mask = 0;

static TimestampTz deadline_of(FunctionCallInfo fcinfo, int argument);
static void release_snapshots(void);
static bool wait_for(const text *topic,
					 StreamFound (*look)(const void *what),
					 const void *what,
					 TimestampTz deadline);
static bool wait_shared(const text *topic,
						StreamFound (*look)(const void *what),
						const void *what,
						TimestampTz deadline);
static bool wait_alone(StreamFound (*look)(const void *what),
					   const void *what,
					   TimestampTz deadline);
static StreamFound look_for_event(const void *what);
static StreamFound look_for_event_by_call(const void *what);
static StreamFound look_for_ack(const void *what);
static StreamFound
look_by_call(Statement *statement, Datum *values, const char *nulls);
static text *topic_of_subscription(const text *name);
static void wake_buckets(uint64 mask);
static void at_transaction_end(XactEvent event, void *arg);
static long milliseconds_to(TimestampTz deadline);
static void leave_bucket(int code, Datum bucket);

PG_FUNCTION_INFO_V1(msgstore_wait_for_events);
PG_FUNCTION_INFO_V1(msgstore_await_events);
PG_FUNCTION_INFO_V1(msgstore_find_event);
PG_FUNCTION_INFO_V1(msgstore_wait_for);
PG_FUNCTION_INFO_V1(msgstore_wake_at_commit);
PG_FUNCTION_INFO_V1(msgstore_wake_for_ack);

Datum
msgstore_wait_for_events(PG_FUNCTION_ARGS)
{
	EventWait wait;

	wait.category = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	wait.after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	PG_RETURN_BOOL(
		wait_for(wait.category, look_for_event, &wait, deadline_of(fcinfo, 2)));
}

/*
 * A procedure, because a statement that calls a function holds a snapshot. It
 * keeps its transaction and gives up the snapshot, as COMMIT in a procedure
 * does; inside a function it cannot. It is not SECURITY DEFINER, because the
 * server would then not let it.
 */
Datum
msgstore_await_events(PG_FUNCTION_ARGS)
{
	EventWait wait;
	TimestampTz deadline = deadline_of(fcinfo, 2);
	bool releases = fcinfo->context != NULL &&
					IsA(fcinfo->context, CallContext) &&
					!castNode(CallContext, fcinfo->context)->atomic;
	TupleDesc row;
	Datum found;
	bool isnull = false;

	wait.category = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	wait.after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (releases)
		release_snapshots();
	found = BoolGetDatum(
		wait_for(wait.category, look_for_event_by_call, &wait, deadline));
	if (releases)
		EnsurePortalSnapshotExists();
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(row, &found, &isnull)));
}

/* What a COMMIT in a procedure does; see PreCommit_Portals(). */
static void
release_snapshots(void)
{
	Portal portal = ActivePortal;

	ForgetPortalSnapshots();
	/* A CALL that returns a row registered it a second time. */
	if (portal->holdSnapshot == NULL)
		return;
	if (portal->resowner != NULL)
		UnregisterSnapshotFromOwner(portal->holdSnapshot, portal->resowner);
	portal->holdSnapshot = NULL;
}

Datum
msgstore_find_event(PG_FUNCTION_ARGS)
{
	EventWait wait;

	wait.category = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	wait.after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	PG_RETURN_INT32(look_for_event(&wait));
}

Datum
msgstore_wait_for(PG_FUNCTION_ARGS)
{
	AckWait wait;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"%s\" is null",
						PG_ARGISNULL(0) ? "subscription" : "position")));
	wait.subscription = PG_GETARG_TEXT_PP(0);
	wait.position = PG_GETARG_INT64(1);
	PG_RETURN_BOOL(wait_for(topic_of_subscription(wait.subscription),
							look_for_ack,
							&wait,
							deadline_of(fcinfo, 2)));
}

/* DT_NOEND for null. */
static TimestampTz
deadline_of(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = DT_NOEND;

	if (!PG_ARGISNULL(argument))
		deadline =
			DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													TimestampTzGetDatum(now),
													PG_GETARG_DATUM(argument)));
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
	return deadline;
}

static bool
wait_for(const text *topic,
		 StreamFound (*look)(const void *what),
		 const void *what,
		 TimestampTz deadline)
{
	if (shared != NULL && !RecoveryInProgress())
		return wait_shared(topic, look, what, deadline);
	return wait_alone(look, what, deadline);
}

Datum
msgstore_wake_at_commit(PG_FUNCTION_ARGS)
{
	streams_wake_at_commit(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

Datum
msgstore_wake_for_ack(PG_FUNCTION_ARGS)
{
	text *topic = topic_of_subscription(PG_GETARG_TEXT_PP(0));

	ack_mask |= UINT64CONST(1) << streams_bucket_of(topic);
	PG_RETURN_VOID();
}

void
streams_wake_at_commit(const text *category)
{
	wake_mask |= UINT64CONST(1) << streams_bucket_of(category);
}

void
streams_wake_waiters(void)
{
	uint64 mask = wake_mask;

	wake_mask = 0;
	mask |= UINT64CONST(1) << streams_bucket_of(NULL);
	wake_buckets(mask);
	streams_tell_watchers(mask);
}

/* The transaction goes on, and keeps the categories to wake at its end. */
void
streams_wake_settled(void)
{
	uint64 mask = UINT64CONST(1) << streams_bucket_of(NULL);

	wake_buckets(mask);
	streams_tell_watchers(mask);
}

static void
wake_buckets(uint64 mask)
{
	int i;

	if (shared == NULL)
		return;
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
	RequestAddinShmemSpace(sizeof(WakeBucket) * STREAMS_BUCKETS);
}

void
streams_wait_shmem_startup(void)
{
	bool found;
	int i;

	shared = ShmemInitStruct("msgstore stream waits",
							 sizeof(WakeBucket) * STREAMS_BUCKETS,
							 &found);
	for (i = 0; !found && i < STREAMS_BUCKETS; i++)
	{
		pg_atomic_init_u32(&shared[i].waiters, 0);
		ConditionVariableInit(&shared[i].changed);
	}
}

void
streams_wait_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	uint64 mask = ack_mask;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	ack_mask = 0;
	if (mask != 0 && event == XACT_EVENT_COMMIT)
		wake_buckets(mask);
}

/* No category contains the first character. */
static text *
topic_of_subscription(const text *name)
{
	return cstring_to_text(psprintf("\001%s", text_to_cstring(name)));
}

int
streams_bucket_of(const text *topic)
{
	uint32 hash = murmurhash32((uint32) MyDatabaseId);

	if (topic != NULL)
		hash =
			hash_combine(hash,
						 hash_bytes((const unsigned char *) VARDATA_ANY(topic),
									VARSIZE_ANY_EXHDR(topic)));
	return hash % STREAMS_BUCKETS;
}

/*
 * Waits in the bucket of the topic, which commits to it wake. Once there is
 * an event that is not settled, the end of any transaction may settle it, so it
 * waits in the bucket that all transactions wake. It is counted and listed as a
 * waiter before it looks, so a transaction that ends afterwards finds it there.
 */
static bool
wait_shared(const text *topic,
			StreamFound (*look)(const void *what),
			const void *what,
			TimestampTz deadline)
{
	int any = streams_bucket_of(NULL);
	int place = streams_bucket_of(topic);
	StreamFound found = FOUND_NOTHING;
	bool late = false;

	while (found != FOUND_ALL && !late)
	{
		WakeBucket *bucket = &shared[place];

		PG_ENSURE_ERROR_CLEANUP(leave_bucket, PointerGetDatum(bucket));
		{
			pg_atomic_fetch_add_u32(&bucket->waiters, 1);
			ConditionVariablePrepareToSleep(&bucket->changed);
			for (;;)
			{
				long left = milliseconds_to(deadline);
				int next;

				found = look(what);
				late = left == 0;
				next =
					found == FOUND_UNSETTLED ? any : streams_bucket_of(topic);
				if (found == FOUND_ALL || late || next != place)
					break;
				/* A procedure waits without any snapshot. */
				InvalidateCatalogSnapshotConditionally();
				ConditionVariableTimedSleep(&bucket->changed,
											left,
											PG_WAIT_EXTENSION);
			}
			ConditionVariableCancelSleep();
		}
		PG_END_ENSURE_ERROR_CLEANUP(leave_bucket, PointerGetDatum(bucket));
		leave_bucket(0, PointerGetDatum(bucket));
		place = found == FOUND_UNSETTLED ? any : streams_bucket_of(topic);
	}
	return found == FOUND_ALL;
}

static bool
wait_alone(StreamFound (*look)(const void *what),
		   const void *what,
		   TimestampTz deadline)
{
	for (;;)
	{
		long left = milliseconds_to(deadline);

		if (look(what) == FOUND_ALL)
			return true;
		if (left == 0)
			return false;
		InvalidateCatalogSnapshotConditionally();
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, LOOK_EVERY_MS),
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Connects to SPI each time, so that waiting does not accumulate memory. */
static StreamFound
look_for_event(const void *what)
{
	const EventWait *wait = what;
	StreamFound found = FOUND_NOTHING;
	Datum values[3];
	int64 settled;
	bool isnull;

	SPI_connect();
	settled = streams_settled_position(wait->category);
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(wait->after);
	values[2] = PointerGetDatum(wait->category);
	statement_execute(wait->category == NULL ? &first_of_all
											 : &first_of_category,
					  values,
					  NULL);
	if (SPI_processed > 0)
		found = DatumGetInt64(statement_value(0, 1, &isnull)) <= settled
					? FOUND_ALL
					: FOUND_UNSETTLED;
	SPI_finish();
	return found;
}

static StreamFound
look_for_event_by_call(const void *what)
{
	const EventWait *wait = what;
	Datum values[2];

	values[0] = PointerGetDatum(wait->category);
	values[1] = Int64GetDatum(wait->after);
	return look_by_call(&find_event,
						values,
						wait->category == NULL ? "n " : NULL);
}

static StreamFound
look_for_ack(const void *what)
{
	const AckWait *wait = what;
	Datum values[2];

	values[0] = PointerGetDatum(wait->subscription);
	values[1] = Int64GetDatum(wait->position);
	return look_by_call(&has_acknowledged, values, NULL);
}

/* The statement returns a number of StreamFound. */
static StreamFound
look_by_call(Statement *statement, Datum *values, const char *nulls)
{
	bool needs_snapshot = !ActiveSnapshotSet();
	StreamFound found;
	bool isnull;

	if (needs_snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	statement_execute(statement, values, nulls);
	found = (StreamFound) DatumGetInt32(statement_value(0, 1, &isnull));
	SPI_finish();
	if (needs_snapshot)
		PopActiveSnapshot();
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

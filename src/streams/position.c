/*
 * streams/position.c: an order of all events that readers can trust.
 *
 * Positions are drawn from a sequence, and transactions commit in another
 * order than they drew. A reader that goes by position must stop before the
 * least position of a transaction that is still open, or it will have passed
 * an event that appears later.
 *
 * So a session publishes a bound before it draws: one above the sequence's
 * last value, which no position of its own can be below. After the draw it
 * raises the bound to the position, and clears it when the transaction has
 * ended for all. A reader reads the sequence's last value first, then the
 * bounds, and takes its snapshot last: a position up to that value was drawn
 * after its bound was published; either the bound is still seen, or the
 * transaction has ended and the snapshot knows how. Nobody locks anything.
 *
 * Where bounds cannot be read (no preloading, a standby) or cannot be believed
 * (a transaction whose snapshot is older than the reading), the snapshot's
 * xmin decides. An event is stored with its horizon, the next transaction id
 * after its position was drawn. Who drew a smaller position had its
 * transaction id before that: once all below the horizon have ended, all
 * smaller positions are settled. The horizon carries sixteen bits of the
 * cluster's identifier, for it means nothing in a cluster that it was restored
 * into, where the event itself arrived settled.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"

#if PG_VERSION_NUM >= 170000
#define MY_SLOT MyProcNumber
#else
#define MY_SLOT MyProc->pgprocno
#endif

/* One bit of a transaction's mask each; categories that share one also wake. */
#define WAKE_BUCKETS 64

/* Without shared memory a waiting session looks this often. */
#define LOOK_EVERY_MS 100

#define HORIZON_BITS 48

typedef union PositionSlot
{
	struct
	{
		pg_atomic_uint64 position; /* 0: no open transaction has drawn one */
		Oid database;
	} s;
	char pad[PG_CACHE_LINE_SIZE];
} PositionSlot;

typedef struct WakeBucket
{
	pg_atomic_uint32 waiters;
	ConditionVariable changed;
} WakeBucket;

typedef struct StreamsShared
{
	WakeBucket buckets[WAKE_BUCKETS];
	int nslots;
	PositionSlot slots[FLEXIBLE_ARRAY_MEMBER]; /* by the process's number */
} StreamsShared;

/* What a waiting session finds. */
typedef enum Found
{
	FOUND_NOTHING,
	FOUND_UNSETTLED,
	FOUND_EVENT
} Found;

static Statement probe_below = {
	.sql = "SELECT global_position, horizon FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND global_position <= $2"
		   " ORDER BY global_position DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "stream_events"};

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

static StreamsShared *shared = NULL;

/* Of the open transaction. */
static bool has_drawn = false; /* or is about to */
static int64 last_position = 0;
static uint64 wake_mask = 0;

static Size shared_size(void);
static Oid sequence_id(void);
static int64 sequence_last_value(void);
static int64 settled_by_slots(void);
static int64 settled_by_xmin(void);
static bool probe(int64 at, int64 *position, int64 *horizon);
static uint64 full_xmin(void);
static bool horizon_passed(int64 horizon, uint64 xmin);
static void at_transaction_end(XactEvent event, void *arg);
static void wake(uint64 mask);
static int bucket_of(const text *category);
static bool wait_shared(text *category, int64 after, TimestampTz deadline);
static bool wait_alone(text *category, int64 after, TimestampTz deadline);
static Found look(text *category, int64 after);
static long milliseconds_to(TimestampTz deadline);
static void leave_bucket(int code, Datum bucket);

PG_FUNCTION_INFO_V1(msgstore_take_position);
PG_FUNCTION_INFO_V1(msgstore_horizon);
PG_FUNCTION_INFO_V1(msgstore_event_id);
PG_FUNCTION_INFO_V1(msgstore_settled_position);
PG_FUNCTION_INFO_V1(msgstore_wait_for_events);
PG_FUNCTION_INFO_V1(msgstore_wake_at_commit);

Datum
msgstore_take_position(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT64(streams_take_position());
}

Datum
msgstore_horizon(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT64(streams_horizon());
}

Datum
msgstore_event_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	int64 position = PG_NARGS() > 0 ? PG_GETARG_INT64(0) : last_position;

	streams_make_event_id(position, id);
	PG_RETURN_UUID_P(id);
}

Datum
msgstore_settled_position(PG_FUNCTION_ARGS)
{
	int64 position;

	(void) fcinfo;
	SPI_connect();
	position = streams_settled_position();
	SPI_finish();
	PG_RETURN_INT64(position);
}

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
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"timeout\" is negative"),
				 errdetail("A timeout is an interval, or null for none.")));
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("cannot wait for events with a snapshot that stays"),
			 errdetail(
				 "What commits after the transaction's first statement is never seen by it."),
			 errhint("Wait in a transaction that is READ COMMITTED.")));
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

int64
streams_take_position(void)
{
	pg_atomic_uint64 *own = NULL;
	int64 position;

	/* The id goes first: the horizon is above it. */
	(void) GetCurrentTransactionId();
	has_drawn = true;
	if (shared != NULL)
	{
		PositionSlot *slot = &shared->slots[MY_SLOT];

		if (MY_SLOT >= shared->nslots)
			elog(ERROR, "process has no slot for its position");
		own = &slot->s.position;
		if (pg_atomic_read_u64(own) == 0)
		{
			slot->s.database = MyDatabaseId;
			pg_write_barrier();
			pg_atomic_write_u64(own, sequence_last_value() + 1);
			pg_memory_barrier();
		}
		else
			own = NULL;
	}
	position = nextval_internal(sequence_id(), false);
	last_position = position;
	if (own != NULL)
		pg_atomic_write_u64(own, position);
	return position;
}

int64
streams_horizon(void)
{
	uint64 next;

	if (last_position == 0)
		elog(ERROR, "a horizon is asked for before a position");
	pg_memory_barrier();
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	return (int64) ((GetSystemIdentifier() << HORIZON_BITS) |
					(next & ((UINT64CONST(1) << HORIZON_BITS) - 1)));
}

/*
 * Version 8 of RFC 9562: the first 60 free bits are the position, the last 62
 * are random, so that ids made here sort in the order of the log.
 */
void
streams_make_event_id(int64 position, pg_uuid_t *id)
{
	int i;

	if (position <= 0)
		elog(ERROR, "an event id is asked for before a position");
	if (!pg_strong_random(id->data + 8, 8))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	for (i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (position >> (52 - 8 * i));
	id->data[6] = 0x80 | (unsigned char) ((position >> 8) & 0x0f);
	id->data[7] = (unsigned char) position;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
}

int64
streams_settled_position(void)
{
	if (shared != NULL && !RecoveryInProgress() && !IsolationUsesXactSnapshot())
		return settled_by_slots();
	return settled_by_xmin();
}

void
streams_wake_at_commit(const text *category)
{
	wake_mask |= UINT64CONST(1) << bucket_of(category);
}

void
streams_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
streams_shmem_request(void)
{
	RequestAddinShmemSpace(shared_size());
}

void
streams_shmem_startup(void)
{
	bool found;
	int i;

	shared = ShmemInitStruct("msgstore streams", shared_size(), &found);
	if (found)
		return;
	for (i = 0; i < WAKE_BUCKETS; i++)
	{
		pg_atomic_init_u32(&shared->buckets[i].waiters, 0);
		ConditionVariableInit(&shared->buckets[i].changed);
	}
	shared->nslots = MaxBackends;
	for (i = 0; i < shared->nslots; i++)
	{
		pg_atomic_init_u64(&shared->slots[i].s.position, 0);
		shared->slots[i].s.database = InvalidOid;
	}
}

static Size
shared_size(void)
{
	return add_size(offsetof(StreamsShared, slots),
					mul_size(MaxBackends, sizeof(PositionSlot)));
}

static Oid
sequence_id(void)
{
	return get_relname_relid("stream_events_position_seq",
							 get_namespace_oid("msgstore", false));
}

/* 0 before the first draw. */
static int64
sequence_last_value(void)
{
	LOCAL_FCINFO(call, 1);
	Datum value;

	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(sequence_id());
	call->args[0].isnull = false;
	value = pg_sequence_last_value(call);
	return call->isnull ? 0 : DatumGetInt64(value);
}

static int64
settled_by_slots(void)
{
	int64 settled = sequence_last_value();
	int i;

	pg_memory_barrier();
	for (i = 0; i < shared->nslots; i++)
	{
		PositionSlot *slot = &shared->slots[i];
		int64 position = (int64) pg_atomic_read_u64(&slot->s.position);

		if (position == 0)
			continue;
		/*
		 * A process that took over the slot in between names its database
		 * first: the transaction that the position was of has ended then.
		 */
		pg_read_barrier();
		if (slot->s.database == MyDatabaseId)
			settled = Min(settled, position - 1);
	}
	/* The caller's snapshot comes after this. */
	pg_memory_barrier();
	return settled;
}

/*
 * A position whose horizon has passed settles all before it. It is looked for
 * from the end, in steps that double and then halve: what is not settled is
 * as long as the oldest transaction is old.
 */
static int64
settled_by_xmin(void)
{
	uint64 xmin = full_xmin();
	int64 at = PG_INT64_MAX;
	int64 step = 1;
	int64 unsettled;
	int64 position;
	int64 horizon;

	for (;;)
	{
		if (!probe(at, &position, &horizon))
			return 0;
		if (horizon_passed(horizon, xmin))
			break;
		unsettled = position;
		at = position - step;
		step *= 2;
		if (at <= 0)
		{
			position = 0;
			break;
		}
	}
	if (at == PG_INT64_MAX)
		return position;
	while (unsettled - position > 1)
	{
		int64 middle = position + (unsettled - position) / 2;
		int64 there;

		if (!probe(middle, &there, &horizon) || there <= position ||
			horizon_passed(horizon, xmin))
			position = middle;
		else
			unsettled = there;
	}
	return position;
}

static bool
probe(int64 at, int64 *position, int64 *horizon)
{
	Datum values[2];
	bool isnull;
	bool found;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(at);
	statement_execute(&probe_below, values, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		*position = DatumGetInt64(statement_value(0, 1, &isnull));
		*horizon = DatumGetInt64(statement_value(0, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* All transactions below it have ended for whoever looks from now on. */
static uint64
full_xmin(void)
{
	TransactionId xmin = GetTransactionSnapshot()->xmin;
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64 full = (next & ~UINT64CONST(0xffffffff)) | xmin;

	return full > next ? full - (UINT64CONST(1) << 32) : full;
}

static bool
horizon_passed(int64 horizon, uint64 xmin)
{
	uint64 cluster = GetSystemIdentifier() << HORIZON_BITS;
	uint64 mask = (UINT64CONST(1) << HORIZON_BITS) - 1;

	if (((uint64) horizon & ~mask) != cluster)
		return true;
	return ((uint64) horizon & mask) <= (xmin & mask);
}

/*
 * COMMIT and ABORT are called when the transaction has ended for other
 * snapshots. Any end may settle what other sessions wait for; only a commit
 * adds events.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	uint64 mask = wake_mask;

	(void) arg;
	if (!has_drawn)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot prepare a transaction that has appended events"),
			 errdetail(
				 "Readers go by the positions that a session holds in its own transaction.")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	has_drawn = false;
	last_position = 0;
	wake_mask = 0;
	if (shared == NULL || MY_SLOT >= shared->nslots)
		return;
	pg_atomic_write_u64(&shared->slots[MY_SLOT].s.position, 0);
	mask |= UINT64CONST(1) << bucket_of(NULL);
	wake(mask);
}

static void
wake(uint64 mask)
{
	int i;

	/* The slot is cleared before the waiters are counted; see wait_shared(). */
	pg_memory_barrier();
	for (i = 0; mask != 0; i++, mask >>= 1)
	{
		WakeBucket *bucket = &shared->buckets[i];

		if ((mask & 1) != 0 && pg_atomic_read_u32(&bucket->waiters) > 0)
			ConditionVariableBroadcast(&bucket->changed);
	}
}

/* NULL is the bucket of those who wait for any event of the database. */
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
 * Waits where commits to the category wake it. Once there is an event that is
 * not settled, the end of any transaction may settle it, so it waits where all
 * of these wake it. It counts as a waiter and is on the list before it looks:
 * who ends a transaction after that finds it there.
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
		WakeBucket *bucket = &shared->buckets[place];

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

/* In a connection of its own, so that it leaves nothing behind. */
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

/* 0 when it has passed; sleeps are an hour at most. */
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

/*
 * streams/position.c: an order of all events that readers can trust.
 *
 * Positions are drawn from a sequence, but transactions do not commit in the
 * order in which they drew. A reader that continues after the last position it
 * saw must therefore stop before the smallest position of an open transaction,
 * or it misses events that appear later.
 *
 * A session publishes a lower bound before it draws: the last value of the
 * sequence plus one, below which none of its positions can be. After the draw
 * it raises the bound to the position, and it clears the bound once its
 * transaction has ended for all sessions. A reader reads the last value of the
 * sequence first, then the bounds, and takes its snapshot last. Each position
 * up to that value was drawn after its bound was published: either the reader
 * still sees the bound, or the transaction has ended and the snapshot shows its
 * result. Nothing is locked.
 *
 * If there are no bounds to read (not preloaded, or on a standby) or they do
 * not apply (a transaction whose snapshot is older than the reading), the xmin
 * of the snapshot decides. Each event is stored with a horizon, the next
 * transaction id after its position was drawn. A session that drew a smaller
 * position had its transaction id before. So once all transactions below the
 * horizon have ended, all smaller positions are settled. The horizon contains
 * 16 bits of the cluster's system identifier, because in another cluster, where
 * the event was restored and is settled anyway, the transaction id means
 * nothing.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"
#include "streams/watch.h"

#if PG_VERSION_NUM >= 170000
#define MY_SLOT MyProcNumber
#else
#define MY_SLOT MyProc->pgprocno
#endif

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

typedef struct StreamsShared
{
	int nslots;
	PositionSlot slots[FLEXIBLE_ARRAY_MEMBER]; /* by the process's number */
} StreamsShared;

static Statement probe_below = {
	.sql = "SELECT global_position, horizon FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND global_position <= $2"
		   " ORDER BY global_position DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "stream_events"};

static StreamsShared *shared = NULL;

/* State of the open transaction. */
static bool has_drawn = false; /* or is about to draw */
static int64 last_position = 0;

static Size shared_size(void);
static Oid sequence_id(void);
static int64 sequence_last_value(void);
static int64 settled_by_slots(void);
static int64 settled_by_xmin(void);
static bool probe(int64 at, int64 *position, int64 *horizon);
static uint64 full_xmin(void);
static bool horizon_passed(int64 horizon, uint64 xmin);
static void at_transaction_end(XactEvent event, void *arg);

PG_FUNCTION_INFO_V1(msgstore_take_position);
PG_FUNCTION_INFO_V1(msgstore_horizon);
PG_FUNCTION_INFO_V1(msgstore_event_id);
PG_FUNCTION_INFO_V1(msgstore_settled_position);

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

int64
streams_take_position(void)
{
	pg_atomic_uint64 *own = NULL;
	int64 position;

	/* The transaction id must come first, so that the horizon is above it. */
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
		elog(ERROR, "horizon requested before a position was drawn");
	pg_memory_barrier();
	next = U64FromFullTransactionId(ReadNextFullTransactionId());
	return (int64) ((GetSystemIdentifier() << HORIZON_BITS) |
					(next & ((UINT64CONST(1) << HORIZON_BITS) - 1)));
}

/*
 * A UUID version 8 (RFC 9562): the first 60 free bits are the position and the
 * last 62 are random, so generated ids sort by position.
 */
void
streams_make_event_id(int64 position, pg_uuid_t *id)
{
	int i;

	if (position <= 0)
		elog(ERROR, "event id requested before a position was drawn");
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
streams_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	streams_wait_init();
}

void
streams_shmem_request(void)
{
	RequestAddinShmemSpace(shared_size());
	streams_wait_shmem_request();
	streams_watch_shmem_request();
}

void
streams_shmem_startup(void)
{
	bool found;
	int i;

	streams_wait_shmem_startup();
	streams_watch_shmem_startup();
	shared = ShmemInitStruct("msgstore streams", shared_size(), &found);
	if (found)
		return;
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
		 * If another process has taken over the slot since, it has set its
		 * database first, and the transaction of this position has ended.
		 */
		pg_read_barrier();
		if (slot->s.database == MyDatabaseId)
			settled = Min(settled, position - 1);
	}
	/* Before the caller takes its snapshot. */
	pg_memory_barrier();
	return settled;
}

/*
 * Finds the last event whose horizon has passed; all before it are settled. The
 * search goes back from the end in steps that double, and then halves the last
 * step: the unsettled part is only as long as the oldest transaction is old.
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

/* All transactions below it have ended for snapshots taken from now on. */
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
 * The server calls this for COMMIT and ABORT after the transaction has ended
 * for other snapshots. Only a commit adds events, but any end may settle events
 * that other sessions wait for.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (!has_drawn)
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot prepare a transaction that has appended events"),
			 errdetail(
				 "The positions of its events are only tracked while its session holds the transaction.")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	has_drawn = false;
	last_position = 0;
	if (shared != NULL && MY_SLOT < shared->nslots)
		pg_atomic_write_u64(&shared->slots[MY_SLOT].s.position, 0);
	streams_wake_waiters();
}

/*
 * streams/position.c: an order of all events that readers can trust.
 *
 * Positions are drawn from a sequence, but transactions do not commit in the
 * order in which they drew. A reader that continues after the last position it
 * saw must therefore stop before the smallest position that an open transaction
 * has drawn for what it reads, or it misses events that appear later.
 *
 * A session publishes, for each category and tag it appends to, a lower bound
 * before it draws: the last value of the sequence plus one, below which none of
 * its positions in the category can be. After the draw it raises the bound to
 * the position. It withdraws the bound once its transaction has ended for all
 * sessions, or the subtransaction that published it was rolled back, whose
 * events no snapshot will ever show. A reader reads the last value of the
 * sequence first, then the bounds of its category or tenant, and takes its
 * snapshot last. Each position up to that value was drawn after its bound was
 * published: either the reader still sees the bound, or the transaction has
 * ended and the snapshot shows its result. Nothing is locked.
 * test/model/positions.pml is a model of this.
 *
 * A session has bounds for four categories and tags. A fifth one shares a bound
 * for the whole tenant, and another tenant then extends it to the database.
 *
 * If there are no bounds to read (not preloaded, or on a standby) or they do
 * not apply (a transaction whose snapshot is older than the reading), or the
 * log has come from elsewhere, the horizons of the events decide (horizon.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "server/random.h"
#include "server/settings.h"
#include "streams/counter.h"
#include "streams/horizon.h"
#include "streams/streams.h"
#include "streams/watch.h"

#if PG_VERSION_NUM >= 170000
#define MY_SLOT MyProcNumber
#else
#define MY_SLOT MyProc->pgprocno
#endif

/* Bounds for one category each; the last bound of a slot is for the others. */
#define EXACT_BOUNDS 4
#define BOUNDS (EXACT_BOUNDS + 1)

/* Hashes of a tenant and of a category; 0 in a bound: all of them. */
typedef struct Scope
{
	uint32 tenant;
	uint32 category;
} Scope;

typedef struct Bound
{
	pg_atomic_uint64 position; /* 0: not in use, like all that follow it */
	Oid database;
	Scope scope;
} Bound;

typedef union PositionSlot
{
	Bound bounds[BOUNDS];
	char pad[2 * PG_CACHE_LINE_SIZE];
} PositionSlot;

typedef struct StreamsShared
{
	int nslots;
	PositionSlot slots[FLEXIBLE_ARRAY_MEMBER]; /* by the process's number */
} StreamsShared;

/* This session's view of a bound that it has published. */
typedef struct OwnBound
{
	Scope scope;
	int level; /* subtransaction that published it */
} OwnBound;

static StreamsShared *shared = NULL;

/* State of the open transaction. */
static bool has_drawn = false; /* or is about to draw */
static int64 last_position = 0;
static OwnBound own[BOUNDS];
static int nown = 0;

static Size shared_size(void);
static Scope scope_of(const text *category);
static Bound *publish_bound(Scope scope);
static void publish_tags(ArrayType *tags);
static bool covers(Scope bound, Scope scope);
static int64 settled_by_slots(Scope scope, int64 settled);
static void withdraw_bounds(int level);
static void at_transaction_end(XactEvent event, void *arg);
static void at_subtransaction_end(SubXactEvent event,
								  SubTransactionId own_id,
								  SubTransactionId parent,
								  void *arg);

PG_FUNCTION_INFO_V1(msgstore_take_position);
PG_FUNCTION_INFO_V1(msgstore_horizon);
PG_FUNCTION_INFO_V1(msgstore_event_id);
PG_FUNCTION_INFO_V1(msgstore_settled_position);

Datum
msgstore_take_position(PG_FUNCTION_ARGS)
{
	ArrayType *tags = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);

	PG_RETURN_INT64(streams_take_position(PG_GETARG_TEXT_PP(0), tags));
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

/* _settled_position(category) */
Datum
msgstore_settled_position(PG_FUNCTION_ARGS)
{
	const text *category = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	int64 position;

	SPI_connect();
	position = streams_settled_position(category);
	SPI_finish();
	PG_RETURN_INT64(position);
}

int64
streams_take_position(const text *category, ArrayType *tags)
{
	Scope scope = scope_of(category);
	Bound *bound = NULL;

	/* The transaction id must come first, so that the horizon is above it. */
	(void) GetCurrentTransactionId();
	has_drawn = true;
	if (shared != NULL)
	{
		bound = publish_bound(scope);
		if (tags != NULL)
			publish_tags(tags);
	}
	last_position = counter_draw(scope.tenant);
	if (bound != NULL)
		pg_atomic_write_u64(&bound->position, last_position);
	return last_position;
}

int64
streams_horizon(void)
{
	if (last_position == 0)
		elog(ERROR, "horizon requested before a position was drawn");
	pg_memory_barrier();
	return horizon_now();
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
	random_take(id->data + 8, 8);
	for (i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (position >> (52 - 8 * i));
	id->data[6] = 0x80 | (unsigned char) ((position >> 8) & 0x0f);
	id->data[7] = (unsigned char) position;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
}

int64
streams_settled_position(const text *category)
{
	bool has_slots =
		shared != NULL && !RecoveryInProgress() && !IsolationUsesXactSnapshot();
	int64 drawn = counter_last_value();
	int64 settled;
	int64 end;

	if (has_slots)
		settled = settled_by_slots(scope_of(category), drawn);
	else
		settled = horizon_settled_by_xmin();
	/* Positions of this server are drawn before their events appear. */
	end = counter_end_of_log(drawn);
	if (end != 0 && end > counter_last_value())
	{
		if (!has_slots)
			settled = Min(settled, horizon_settled_in_copy(drawn));
		else if (settled == drawn)
			settled = horizon_settled_in_copy(drawn);
	}
	return settled;
}

void
streams_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
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
	int j;

	streams_wait_shmem_startup();
	streams_watch_shmem_startup();
	shared = ShmemInitStruct("msgstore streams", shared_size(), &found);
	if (found)
		return;
	shared->nslots = MaxBackends;
	memset(shared->slots, 0, sizeof(PositionSlot) * shared->nslots);
	for (i = 0; i < shared->nslots; i++)
	{
		for (j = 0; j < BOUNDS; j++)
			pg_atomic_init_u64(&shared->slots[i].bounds[j].position, 0);
	}
}

static Size
shared_size(void)
{
	return add_size(offsetof(StreamsShared, slots),
					mul_size(MaxBackends, sizeof(PositionSlot)));
}

/* NULL: all categories of the tenant. */
static Scope
scope_of(const text *category)
{
	Scope scope;

	scope.tenant = hash_bytes((const unsigned char *) msgstore_tenant_id,
							  strlen(msgstore_tenant_id));
	scope.category =
		category == NULL
			? 0
			: hash_bytes((const unsigned char *) VARDATA_ANY(category),
						 VARSIZE_ANY_EXHDR(category));
	scope.tenant = Max(scope.tenant, 1);
	if (category != NULL)
		scope.category = Max(scope.category, 1);
	return scope;
}

/*
 * Publishes a bound for the next draw, unless there is one. Returns it if the
 * draw may raise it.
 */
static Bound *
publish_bound(Scope scope)
{
	Bound *bounds;
	int i;

	if (MY_SLOT >= shared->nslots)
		elog(ERROR, "process has no slot for its position");
	for (i = 0; i < nown; i++)
	{
		if (covers(own[i].scope, scope))
			return NULL;
	}
	bounds = shared->slots[MY_SLOT].bounds;
	if (nown == BOUNDS)
	{
		own[EXACT_BOUNDS].scope.tenant = 0;
		bounds[EXACT_BOUNDS].scope.tenant = 0;
		pg_memory_barrier();
		return NULL;
	}
	if (nown == EXACT_BOUNDS)
		scope.category = 0;
	own[nown].scope = scope;
	own[nown].level = GetCurrentTransactionNestLevel();
	bounds[nown].database = MyDatabaseId;
	bounds[nown].scope = scope;
	pg_write_barrier();
	pg_atomic_write_u64(&bounds[nown].position, counter_last_value() + 1);
	pg_memory_barrier();
	return &bounds[nown++];
}

/* A tag is like a category; no name of a category contains a hyphen. */
static void
publish_tags(ArrayType *tags)
{
	Datum *values;
	int n;
	int i;

	deconstruct_array(tags,
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &values,
					  NULL,
					  &n);
	for (i = 0; i < n; i++)
	{
		char *name = psprintf("tag-%s", TextDatumGetCString(values[i]));

		(void) publish_bound(scope_of(cstring_to_text(name)));
	}
}

static bool
covers(Scope bound, Scope scope)
{
	return (bound.tenant == 0 || bound.tenant == scope.tenant) &&
		   (bound.category == 0 || scope.category == 0 ||
			bound.category == scope.category);
}

static int64
settled_by_slots(Scope scope, int64 settled)
{
	int i;
	int j;

	pg_memory_barrier();
	for (i = 0; i < shared->nslots; i++)
	{
		for (j = 0; j < BOUNDS; j++)
		{
			Bound *bound = &shared->slots[i].bounds[j];
			int64 position = (int64) pg_atomic_read_u64(&bound->position);

			if (position == 0)
				break;
			/*
			 * If the bound has been taken over since, its new owner has set the
			 * scope first, and the events of this position are decided.
			 */
			pg_read_barrier();
			if (bound->database == MyDatabaseId && covers(bound->scope, scope))
				settled = Min(settled, position - 1);
		}
	}
	/* Before the caller takes its snapshot. */
	pg_memory_barrier();
	return settled;
}

/* Of this subtransaction level and deeper ones, the last first. */
static void
withdraw_bounds(int level)
{
	if (MyProc == NULL)
		return;
	while (nown > 0 && own[nown - 1].level >= level)
	{
		nown--;
		pg_atomic_write_u64(&shared->slots[MY_SLOT].bounds[nown].position, 0);
		pg_write_barrier();
	}
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
	withdraw_bounds(0);
	if (event == XACT_EVENT_ABORT)
		counter_compare_again();
	streams_wake_waiters();
}

/*
 * The events of a subtransaction that is rolled back never appear, so readers
 * need not wait for the end of the transaction. Those of one that ends
 * otherwise become its parent's.
 */
static void
at_subtransaction_end(SubXactEvent event,
					  SubTransactionId own_id,
					  SubTransactionId parent,
					  void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	int before = nown;
	int i;

	(void) own_id;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		withdraw_bounds(level);
		if (nown < before)
			streams_wake_settled();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (i = 0; i < nown; i++)
			own[i].level = Min(own[i].level, level - 1);
	}
}

/*
 * conversations/pending.c: sums the changes of conversations that are not
 * merged yet, for readers.
 *
 * A reader adds them up once in a query, by conversation. They are read by a
 * statement with the snapshot and the rights of the query, so that row security
 * applies.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/binaryheap.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "conversations/changes.h"
#include "server/statement.h"

typedef struct PendingKey
{
	pg_uuid_t conversation_id;
	uint64 tenant; /* hash */
} PendingKey;

typedef struct PendingSum
{
	PendingKey key;
	text *tenant_id;
	TimestampTz last_activity_at;
	int32 message_count;
	int32 inbound_count;
	char status; /* of simplehash */
} PendingSum;

/* Ids of version 7 end with random bits. */
static inline uint32
hash_key(PendingKey key)
{
	uint32 random;

	memcpy(&random, key.conversation_id.data + 12, sizeof(random));
	return murmurhash32(random ^ (uint32) key.tenant);
}

#define SH_PREFIX pending
#define SH_ELEMENT_TYPE PendingSum
#define SH_KEY_TYPE PendingKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_key(key)
#define SH_EQUAL(tb, a, b) (memcmp(&(a), &(b), sizeof(PendingKey)) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The sums that a function has read for a query. */
typedef struct Pending
{
	pending_hash *sums;
	text *tenant_id; /* whose they are; NULL: those of all tenants */
} Pending;

/* Where a page begins in the list, and how many conversations it needs. */
typedef struct Place
{
	TimestampTz before;
	pg_uuid_t *before_id;
	int64 most;
	bool is_cut; /* set: some conversations were not read */
} Place;

/* Changes looked at for each conversation needed: some have several. */
#define CHANGES_PER_PLACE 4

/* The operator is qualified: callers may have any search_path. */
#define READ_CHANGES                                                           \
	"SELECT c.tenant_id, c.changes FROM msgstore.conversation_changes c"

static Statement read_tenant = {.sql = READ_CHANGES
								" WHERE c.tenant_id OPERATOR(pg_catalog.=) $1",
								.nargs = 1,
								.argtypes = {TEXTOID},
								.table = "conversation_changes",
								.read_only = true};
static Statement read_all = {.sql = READ_CHANGES, .read_only = true};

static const PendingSum *find(FunctionCallInfo fcinfo);
static Pending *
read_pending(MemoryContext memory, const text *tenant_id, Place *newest);
static TimestampTz find_threshold(const Place *newest);
static void keep_newest(Pending *pending, TimestampTz least);
static void
add_row(Pending *pending, text *tenant_id, bytea *changes, bool all);
static uint64 hash_tenant(const text *tenant_id);
static int compare_times(Datum a, Datum b, void *arg);
static binaryheap *select_newest(Pending *pending, const Place *place);
static int compare_places(const PendingSum *sum, TimestampTz at, pg_uuid_t *id);
static int compare_sums(Datum a, Datum b, void *arg);

PG_FUNCTION_INFO_V1(msgstore_pending_count);
PG_FUNCTION_INFO_V1(msgstore_pending_inbound);
PG_FUNCTION_INFO_V1(msgstore_pending_activity);
PG_FUNCTION_INFO_V1(msgstore_newest_pending);

/* _pending_count(tenant_id, conversation_id) */
Datum
msgstore_pending_count(PG_FUNCTION_ARGS)
{
	const PendingSum *sum = find(fcinfo);

	PG_RETURN_INT32(sum == NULL ? 0 : sum->message_count);
}

/* _pending_inbound(tenant_id, conversation_id) */
Datum
msgstore_pending_inbound(PG_FUNCTION_ARGS)
{
	const PendingSum *sum = find(fcinfo);

	PG_RETURN_INT32(sum == NULL ? 0 : sum->inbound_count);
}

/* _pending_activity(tenant_id, conversation_id) */
Datum
msgstore_pending_activity(PG_FUNCTION_ARGS)
{
	const PendingSum *sum = find(fcinfo);

	if (sum == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(sum->last_activity_at);
}

/* _newest_pending(scope, before, before_id, most) */
Datum
msgstore_newest_pending(PG_FUNCTION_ARGS)
{
	text *scope = PG_GETARG_TEXT_PP(0);
	const text *tenant_id = VARSIZE_ANY_EXHDR(scope) == 0 ? NULL : scope;
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Place place = {.before = PG_GETARG_TIMESTAMPTZ(1),
				   .before_id = PG_GETARG_UUID_P(2),
				   .most = PG_GETARG_INT64(3)};
	binaryheap *newest =
		select_newest(read_pending(CurrentMemoryContext, tenant_id, &place),
					  &place);

	if (place.is_cut && newest->bh_size < place.most)
		newest =
			select_newest(read_pending(CurrentMemoryContext, tenant_id, NULL),
						  &place);
	InitMaterializedSRF(fcinfo, 0);
	while (!binaryheap_empty(newest))
	{
		PendingSum *sum =
			(PendingSum *) DatumGetPointer(binaryheap_remove_first(newest));
		bool nulls[5] = {false};
		Datum values[5];

		values[0] = PointerGetDatum(sum->tenant_id);
		values[1] = UUIDPGetDatum(&sum->key.conversation_id);
		values[2] = Int32GetDatum(sum->message_count);
		values[3] = Int32GetDatum(sum->inbound_count);
		values[4] = TimestampTzGetDatum(sum->last_activity_at);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * Reads the changes of the tenant at the first call in a query. A query that
 * asks about several tenants is about all that its reader may see.
 */
static const PendingSum *
find(FunctionCallInfo fcinfo)
{
	text *tenant_id = PG_GETARG_TEXT_PP(0);
	Pending *pending = fcinfo->flinfo->fn_extra;
	PendingKey key = {.conversation_id = *PG_GETARG_UUID_P(1),
					  .tenant = hash_tenant(tenant_id)};

	if (pending == NULL)
		pending = read_pending(fcinfo->flinfo->fn_mcxt, tenant_id, NULL);
	else if (pending->tenant_id != NULL &&
			 address_compare(pending->tenant_id, tenant_id) != 0)
		pending = read_pending(fcinfo->flinfo->fn_mcxt, NULL, NULL);
	fcinfo->flinfo->fn_extra = pending;
	return pending_lookup(pending->sums, key);
}

/*
 * Of all tenants if tenant_id is NULL. If newest is given, may leave out
 * conversations that have no change among the newest before that place.
 */
static Pending *
read_pending(MemoryContext memory, const text *tenant_id, Place *newest)
{
	TimestampTz least = DT_NOBEGIN;
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Pending *pending = palloc0(sizeof(Pending));
	Datum values[1];
	uint64 row;

	if (tenant_id != NULL)
		pending->tenant_id = DatumGetTextPCopy(PointerGetDatum(tenant_id));
	pending->sums = pending_create(memory, 256, NULL);
	values[0] = PointerGetDatum(tenant_id);
	SPI_connect();
	statement_execute(tenant_id != NULL ? &read_tenant : &read_all,
					  values,
					  NULL);
	MemoryContextSwitchTo(memory);
	if (newest != NULL)
	{
		least = find_threshold(newest);
		newest->is_cut = least != DT_NOBEGIN;
		if (newest->is_cut)
			keep_newest(pending, least);
	}
	for (row = 0; row < SPI_processed; row++)
	{
		bool isnull;

		add_row(pending,
				DatumGetTextPCopy(statement_value(row, 1, &isnull)),
				DatumGetByteaPP(statement_value(row, 2, &isnull)),
				least == DT_NOBEGIN);
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return pending;
}

/*
 * Returns the time of the last of the newest changes that are looked at, or
 * DT_NOBEGIN if all are. The latest rows come first: most changes of the others
 * are older, and are passed over by one comparison.
 */
static TimestampTz
find_threshold(const Place *newest)
{
	int n = (int) Max(Min(newest->most, 10000), 1) * CHANGES_PER_PLACE;
	binaryheap *times = binaryheap_allocate(n, compare_times, NULL);
	uint64 row;

	for (row = SPI_processed; row-- > 0;)
	{
		bool isnull;
		bytea *changes = DatumGetByteaPP(statement_value(row, 2, &isnull));
		const char *bytes = VARDATA_ANY(changes);
		const char *end = bytes + VARSIZE_ANY_EXHDR(changes);

		for (; bytes < end; bytes += CHANGE_BYTES)
		{
			Change change;
			Datum at;

			change_read(bytes, &change);
			at = Int64GetDatum(change.last_activity_at);
			if (change.last_activity_at > newest->before)
				continue;
			if (times->bh_size < n)
				binaryheap_add(times, at);
			else if (change.last_activity_at >
					 DatumGetInt64(binaryheap_first(times)))
				binaryheap_replace_first(times, at);
		}
	}
	return times->bh_size < n ? DT_NOBEGIN
							  : DatumGetInt64(binaryheap_first(times));
}

/* For a heap whose first element is the least. */
static int
compare_times(Datum a, Datum b, void *arg)
{
	int64 left = DatumGetInt64(a);
	int64 right = DatumGetInt64(b);

	(void) arg;
	return (left < right) - (left > right);
}

/* Makes an empty sum for each conversation that has a change since then. */
static void
keep_newest(Pending *pending, TimestampTz least)
{
	uint64 row;

	for (row = 0; row < SPI_processed; row++)
	{
		bool isnull;
		text *tenant_id = DatumGetTextPP(statement_value(row, 1, &isnull));
		bytea *changes = DatumGetByteaPP(statement_value(row, 2, &isnull));
		const char *bytes = VARDATA_ANY(changes);
		const char *end = bytes + VARSIZE_ANY_EXHDR(changes);
		PendingKey key = {.tenant = hash_tenant(tenant_id)};

		for (; bytes < end; bytes += CHANGE_BYTES)
		{
			PendingSum *sum;
			Change change;
			bool found;

			change_read(bytes, &change);
			if (change.last_activity_at < least)
				continue;
			key.conversation_id = change.conversation_id;
			sum = pending_insert(pending->sums, key, &found);
			sum->tenant_id = NULL;
			sum->message_count = 0;
			sum->inbound_count = 0;
			sum->last_activity_at = DT_NOBEGIN;
		}
	}
}

/* Adds the changes; unless all, only to the sums that there are. */
static void
add_row(Pending *pending, text *tenant_id, bytea *changes, bool all)
{
	const char *bytes = VARDATA_ANY(changes);
	int n = VARSIZE_ANY_EXHDR(changes) / CHANGE_BYTES;
	PendingKey key = {.tenant = hash_tenant(tenant_id)};
	int i;

	for (i = 0; i < n; i++)
	{
		PendingSum *sum;
		Change change;
		bool found = true;

		change_read(bytes + i * CHANGE_BYTES, &change);
		key.conversation_id = change.conversation_id;
		if (all)
			sum = pending_insert(pending->sums, key, &found);
		else
			sum = pending_lookup(pending->sums, key);
		if (sum == NULL)
			continue;
		if (!found)
		{
			sum->message_count = 0;
			sum->inbound_count = 0;
			sum->last_activity_at = change.last_activity_at;
		}
		sum->tenant_id = tenant_id;
		sum->message_count += change.message_count;
		sum->inbound_count += change.inbound_count;
		sum->last_activity_at =
			Max(sum->last_activity_at, change.last_activity_at);
	}
}

static uint64
hash_tenant(const text *tenant_id)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(tenant_id),
							   VARSIZE_ANY_EXHDR(tenant_id),
							   0);
}

/* Returns a heap whose first element is the newest. */
static binaryheap *
select_newest(Pending *pending, const Place *place)
{
	int n = (int) Min(place->most, (int64) pending->sums->members);
	bool oldest_first = true;
	binaryheap *kept =
		binaryheap_allocate(Max(n, 1), compare_sums, &oldest_first);
	binaryheap *newest = binaryheap_allocate(Max(n, 1), compare_sums, NULL);
	pending_iterator all;
	PendingSum *sum;

	pending_start_iterate(pending->sums, &all);
	while ((sum = pending_iterate(pending->sums, &all)) != NULL)
	{
		if (n == 0 || compare_places(sum, place->before, place->before_id) >= 0)
			continue;
		if (kept->bh_size < n)
			binaryheap_add(kept, PointerGetDatum(sum));
		else if (compare_sums(PointerGetDatum(sum),
							  binaryheap_first(kept),
							  NULL) > 0)
			binaryheap_replace_first(kept, PointerGetDatum(sum));
	}
	while (!binaryheap_empty(kept))
		binaryheap_add_unordered(newest, binaryheap_remove_first(kept));
	binaryheap_build(newest);
	return newest;
}

static int
compare_places(const PendingSum *sum, TimestampTz at, pg_uuid_t *id)
{
	if (sum->last_activity_at != at)
		return sum->last_activity_at < at ? -1 : 1;
	return memcmp(&sum->key.conversation_id, id, UUID_LEN);
}

/* For a heap whose first element is the greatest; arg reverses the order. */
static int
compare_sums(Datum a, Datum b, void *arg)
{
	const PendingSum *left = (const PendingSum *) DatumGetPointer(a);
	PendingSum *right = (PendingSum *) DatumGetPointer(b);
	int order = compare_places(left,
							   right->last_activity_at,
							   &right->key.conversation_id);

	return arg == NULL ? order : -order;
}

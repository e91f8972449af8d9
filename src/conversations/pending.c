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
static Pending *read_pending(MemoryContext memory, const text *tenant_id);
static void add_row(Pending *pending, text *tenant_id, bytea *changes);
static uint64 hash_tenant(const text *tenant_id);
static binaryheap *
select_newest(Pending *pending, TimestampTz before, pg_uuid_t *id, int64 most);
static int compare_places(const PendingSum *sum, TimestampTz at, pg_uuid_t *id);
static int compare_sums(Datum a, Datum b, void *arg);

PG_FUNCTION_INFO_V1(msgstore_pending_count);
PG_FUNCTION_INFO_V1(msgstore_pending_activity);
PG_FUNCTION_INFO_V1(msgstore_newest_pending);

/* _pending_count(tenant_id, conversation_id) */
Datum
msgstore_pending_count(PG_FUNCTION_ARGS)
{
	const PendingSum *sum = find(fcinfo);

	PG_RETURN_INT32(sum == NULL ? 0 : sum->message_count);
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
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Pending *pending =
		read_pending(CurrentMemoryContext,
					 VARSIZE_ANY_EXHDR(scope) == 0 ? NULL : scope);
	binaryheap *newest = select_newest(pending,
									   PG_GETARG_TIMESTAMPTZ(1),
									   PG_GETARG_UUID_P(2),
									   PG_GETARG_INT64(3));

	InitMaterializedSRF(fcinfo, 0);
	while (!binaryheap_empty(newest))
	{
		PendingSum *sum =
			(PendingSum *) DatumGetPointer(binaryheap_remove_first(newest));
		bool nulls[4] = {false};
		Datum values[4];

		values[0] = PointerGetDatum(sum->tenant_id);
		values[1] = UUIDPGetDatum(&sum->key.conversation_id);
		values[2] = Int32GetDatum(sum->message_count);
		values[3] = TimestampTzGetDatum(sum->last_activity_at);
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
		pending = read_pending(fcinfo->flinfo->fn_mcxt, tenant_id);
	else if (pending->tenant_id != NULL &&
			 address_compare(pending->tenant_id, tenant_id) != 0)
		pending = read_pending(fcinfo->flinfo->fn_mcxt, NULL);
	fcinfo->flinfo->fn_extra = pending;
	return pending_lookup(pending->sums, key);
}

/* Of all tenants if tenant_id is NULL. */
static Pending *
read_pending(MemoryContext memory, const text *tenant_id)
{
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
	for (row = 0; row < SPI_processed; row++)
	{
		bool isnull;

		add_row(pending,
				DatumGetTextPCopy(statement_value(row, 1, &isnull)),
				DatumGetByteaPP(statement_value(row, 2, &isnull)));
	}
	SPI_finish();
	MemoryContextSwitchTo(caller);
	return pending;
}

static void
add_row(Pending *pending, text *tenant_id, bytea *changes)
{
	const char *bytes = VARDATA_ANY(changes);
	int n = VARSIZE_ANY_EXHDR(changes) / CHANGE_BYTES;
	PendingKey key = {.tenant = hash_tenant(tenant_id)};
	int i;

	for (i = 0; i < n; i++)
	{
		PendingSum *sum;
		Change change;
		bool found;

		change_read(bytes + i * CHANGE_BYTES, &change);
		key.conversation_id = change.conversation_id;
		sum = pending_insert(pending->sums, key, &found);
		if (!found)
		{
			sum->tenant_id = tenant_id;
			sum->message_count = 0;
			sum->last_activity_at = change.last_activity_at;
		}
		sum->message_count += change.message_count;
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
select_newest(Pending *pending, TimestampTz before, pg_uuid_t *id, int64 most)
{
	int n = (int) Min(most, (int64) pending->sums->members);
	bool oldest_first = true;
	binaryheap *kept =
		binaryheap_allocate(Max(n, 1), compare_sums, &oldest_first);
	binaryheap *newest = binaryheap_allocate(Max(n, 1), compare_sums, NULL);
	pending_iterator all;
	PendingSum *sum;

	pending_start_iterate(pending->sums, &all);
	while ((sum = pending_iterate(pending->sums, &all)) != NULL)
	{
		if (n == 0 || compare_places(sum, before, id) >= 0)
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

/*
 * tenancy/placement.c: whether a tenant's rows can be written in this database.
 *
 * In a cluster, a database is a slot and refuses the tenants of other slots.
 * While a tenant is moved, a fence refuses it everywhere. Slot, exceptions and
 * fences are a few rows that each backend caches, as channels.c does: a trigger
 * sends a relcache invalidation, and the cache is filled by a scan that takes a
 * snapshot after locking the table.
 *
 * wait_for_fence() relies on the order of these steps. The invalidation is in
 * the queue before the transaction that fences releases its locks, and
 * wait_for_fence() waits for these before it looks for open transactions. So a
 * call that accepts invalidations later sees the fence, and one that accepted
 * them before is in a transaction that wait_for_fence() sees.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/versions.h"
#include "tenancy/placement.h"

#define NO_SLOT (-1)

enum
{
	TABLE_NODE_STATE,
	TABLE_EXCEPTIONS,
	TABLE_FENCES,
	NTABLES
};

static const char *const table_names[NTABLES] = {"node_state",
												 "slot_exceptions",
												 "tenant_fences"};

/* Columns, in the order of the tables. */
#define STATE_SLOT 2
#define STATE_SLOTS 3
#define ROW_TENANT 1
#define EXCEPTION_SLOT 2

/* A tenant with an exception or a fence. */
typedef struct Placed
{
	const char *tenant;
	int slot; /* of its exception, or NO_SLOT */
	bool fenced;
} Placed;

typedef struct Placement
{
	MemoryContext memory;
	int slot; /* of this database, or NO_SLOT */
	int slots;
	Placed *placed; /* by name */
	int nplaced;
	int room;
} Placement;

typedef enum Verdict
{
	TENANT_HERE,
	TENANT_FENCED,
	TENANT_FOREIGN
} Verdict;

/*
 * Static, because the cache belongs to the backend. A database without a slot
 * and without fences has none, and each check is a branch.
 */
static Placement *cache = NULL;
static bool cache_is_fresh = false;
static Oid cached_relids[NTABLES];
static uint64 invalidations_seen = 0;

static bool has_rules(void);
pg_noreturn static void refuse_fenced(const char *tenant);
pg_noreturn static void refuse_foreign(const char *tenant, int slot);
static void refresh_cache(void);
static Placement *read_placement(void);
static void read_table(Placement *placement, int which);
static void
read_row(Placement *placement, int which, HeapTuple tuple, TupleDesc desc);
static Placed *add_tenant(Placement *placement, const char *tenant);
static int compare_placed(const void *a, const void *b);
static void merge_placed(Placement *placement);
static Verdict judge(const char *tenant, int *slot);
static const Placed *find_placed(const char *tenant);
static int default_slot(const char *tenant, int slots);
static void forget_placement(Datum arg, Oid relid);

PG_FUNCTION_INFO_V1(msgstore_invalidate_placement);
PG_FUNCTION_INFO_V1(msgstore_check_tenant_here);
PG_FUNCTION_INFO_V1(msgstore_check_own_tenant);
PG_FUNCTION_INFO_V1(msgstore_check_scope_here);
PG_FUNCTION_INFO_V1(msgstore_check_all_here);
PG_FUNCTION_INFO_V1(msgstore_is_elsewhere);
PG_FUNCTION_INFO_V1(msgstore_check_slot_here);
PG_FUNCTION_INFO_V1(msgstore_default_slot);

/* The trigger function that invalidates the cache of every backend. */
Datum
msgstore_invalidate_placement(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("function \"%s\" was not called as a trigger",
						"msgstore._invalidate_placement")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

Datum
msgstore_check_tenant_here(PG_FUNCTION_ARGS)
{
	if (has_rules())
		placement_check(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

Datum
msgstore_check_own_tenant(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	placement_check_own();
	PG_RETURN_VOID();
}

Datum
msgstore_check_scope_here(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	placement_check_scope();
	PG_RETURN_VOID();
}

Datum
msgstore_check_all_here(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	placement_check_all();
	PG_RETURN_VOID();
}

Datum
msgstore_is_elsewhere(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(has_rules() && placement_is_elsewhere(
									  text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * For a caller that has chosen this database by a map of its own, which may be
 * old: reading would find no rows of a tenant that has left. It may read those
 * of a fenced one.
 */
Datum
msgstore_check_slot_here(PG_FUNCTION_ARGS)
{
	const char *tenant =
		PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int expected = PG_ARGISNULL(1) ? NO_SLOT : PG_GETARG_INT32(1);
	int slot;

	if (!has_rules() || cache->slot == NO_SLOT)
		ereport(ERROR,
				(errcode(ERRCODE_MS_WRONG_SLOT),
				 errmsg("this database has no slot"),
				 errdetail("It must be slot %d of a cluster.", expected)));
	if (cache->slot != expected)
		ereport(ERROR,
				(errcode(ERRCODE_MS_WRONG_SLOT),
				 errmsg("this database is slot %d", cache->slot),
				 errdetail("It must be slot %d of the cluster.", expected)));
	if (tenant != NULL && judge(tenant, &slot) == TENANT_FOREIGN)
		refuse_foreign(tenant, slot);
	PG_RETURN_VOID();
}

/* In C, because a router computes the slot of each call. */
Datum
msgstore_default_slot(PG_FUNCTION_ARGS)
{
	int slots = PG_GETARG_INT32(1);

	if (slots < 1)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("invalid number of slots: %d", slots),
				 errdetail("The number of slots must be at least 1.")));
	PG_RETURN_INT32(default_slot(text_to_cstring(PG_GETARG_TEXT_PP(0)), slots));
}

void
placement_check(const char *tenant)
{
	int slot;

	if (!has_rules())
		return;
	switch (judge(tenant, &slot))
	{
		case TENANT_HERE:
			return;
		case TENANT_FENCED:
			refuse_fenced(tenant);
		case TENANT_FOREIGN:
			refuse_foreign(tenant, slot);
	}
}

static void
refuse_foreign(const char *tenant, int slot)
{
	ereport(ERROR,
			(errcode(ERRCODE_MS_WRONG_SLOT),
			 errmsg("tenant \"%s\" is not in slot %d", tenant, cache->slot),
			 errdetail("The tenant belongs to slot %d.", slot),
			 errhint("Call the router, or the database of that slot.")));
}

static void
refuse_fenced(const char *tenant)
{
	ereport(ERROR,
			(errcode(ERRCODE_MS_UNAVAILABLE),
			 errmsg("tenant \"%s\" cannot be written now", tenant),
			 errdetail("The tenant is being moved."),
			 errhint("Try again in a few seconds.")));
}

void
placement_check_own(void)
{
	placement_check(msgstore_tenant_id);
}

void
placement_check_scope(void)
{
	if (msgstore_tenant_id[0] != '\0')
		placement_check(msgstore_tenant_id);
}

void
placement_check_all(void)
{
	int i;

	placement_check_scope();
	if (msgstore_tenant_id[0] != '\0' || !has_rules())
		return;
	for (i = 0; i < cache->nplaced; i++)
	{
		if (cache->placed[i].fenced)
			refuse_fenced(cache->placed[i].tenant);
	}
}

bool
placement_is_elsewhere(const char *tenant)
{
	int slot;

	return has_rules() && judge(tenant, &slot) != TENANT_HERE;
}

bool
placement_is_fenced(const char *tenant)
{
	int slot;

	return has_rules() && judge(tenant, &slot) == TENANT_FENCED;
}

bool
placement_any_elsewhere(void)
{
	return has_rules();
}

/*
 * A statement without a table takes no lock, so it would not process an
 * invalidation before the end of its transaction.
 */
static bool
has_rules(void)
{
	AcceptInvalidationMessages();
	if (unlikely(!cache_is_fresh))
		refresh_cache();
	return cache != NULL;
}

/* As refresh_cache() of channels.c. */
static void
refresh_cache(void)
{
	static bool callback_registered = false;
	Placement *former = cache;
	Placement *placement;
	uint64 seen;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_placement, (Datum) 0);
		callback_registered = true;
	}
	seen = invalidations_seen;
	placement = read_placement();
	if (placement != NULL)
		MemoryContextSetParent(placement->memory, CacheMemoryContext);
	cache = placement;
	if (former != NULL)
		MemoryContextDelete(former->memory);
	cache_is_fresh = seen == invalidations_seen;
}

/* NULL if the database takes all tenants. */
static Placement *
read_placement(void)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext,
												 "msgstore placement",
												 ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Placement *placement = palloc0(sizeof(Placement));
	int which;

	placement->memory = memory;
	placement->slot = NO_SLOT;
	placement->room = 8;
	placement->placed = palloc(placement->room * sizeof(Placed));
	for (which = 0; which < NTABLES; which++)
		read_table(placement, which);
	merge_placed(placement);
	MemoryContextSwitchTo(caller);
	if (placement->slot != NO_SLOT || placement->nplaced > 0)
		return placement;
	MemoryContextDelete(memory);
	return NULL;
}

/* By name each time: the extension may have been dropped and created again. */
static void
read_table(Placement *placement, int which)
{
	Oid relid = get_relname_relid(table_names[which],
								  get_namespace_oid("msgstore", false));
	Relation table;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(relid))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"msgstore.%s\" does not exist", table_names[which]),
			 errhint("Run ALTER EXTENSION msgstore UPDATE.")));
	table = table_open(relid, AccessShareLock);
	cached_relids[which] = relid;
	/* Without a snapshot, the scan takes a new one, as for a catalog. */
	scan = systable_beginscan(table, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		read_row(placement, which, tuple, RelationGetDescr(table));
	systable_endscan(scan);
	table_close(table, AccessShareLock);
}

static void
read_row(Placement *placement, int which, HeapTuple tuple, TupleDesc desc)
{
	Placed *placed;
	bool is_null;
	Datum slot;

	if (which == TABLE_NODE_STATE)
	{
		slot = heap_getattr(tuple, STATE_SLOT, desc, &is_null);
		if (is_null)
			return;
		placement->slot = DatumGetInt32(slot);
		placement->slots =
			DatumGetInt32(heap_getattr(tuple, STATE_SLOTS, desc, &is_null));
		return;
	}
	placed = add_tenant(
		placement,
		TextDatumGetCString(heap_getattr(tuple, ROW_TENANT, desc, &is_null)));
	placed->fenced = which == TABLE_FENCES;
	if (which == TABLE_EXCEPTIONS)
		placed->slot =
			DatumGetInt32(heap_getattr(tuple, EXCEPTION_SLOT, desc, &is_null));
}

static Placed *
add_tenant(Placement *placement, const char *tenant)
{
	Placed *placed;

	if (placement->nplaced == placement->room)
	{
		placement->room *= 2;
		placement->placed =
			repalloc(placement->placed, placement->room * sizeof(Placed));
	}
	placed = &placement->placed[placement->nplaced++];
	placed->tenant = tenant;
	placed->slot = NO_SLOT;
	placed->fenced = false;
	return placed;
}

static int
compare_placed(const void *a, const void *b)
{
	return strcmp(((const Placed *) a)->tenant, ((const Placed *) b)->tenant);
}

/* Makes one entry of a tenant's exception and fence. */
static void
merge_placed(Placement *placement)
{
	Placed *placed = placement->placed;
	int n = 0;
	int i;

	qsort(placed, placement->nplaced, sizeof(Placed), compare_placed);
	for (i = 0; i < placement->nplaced; i++)
	{
		if (n > 0 && strcmp(placed[n - 1].tenant, placed[i].tenant) == 0)
		{
			placed[n - 1].fenced |= placed[i].fenced;
			placed[n - 1].slot = Max(placed[n - 1].slot, placed[i].slot);
		}
		else
			placed[n++] = placed[i];
	}
	placement->nplaced = n;
}

/*
 * A foreign tenant stays foreign while it is fenced: callers are to go to the
 * other slot.
 */
static Verdict
judge(const char *tenant, int *slot)
{
	const Placed *placed = find_placed(tenant);

	if (cache->slot != NO_SLOT)
	{
		*slot = placed != NULL && placed->slot != NO_SLOT
					? placed->slot
					: default_slot(tenant, cache->slots);
		if (*slot != cache->slot)
			return TENANT_FOREIGN;
	}
	return placed != NULL && placed->fenced ? TENANT_FENCED : TENANT_HERE;
}

static const Placed *
find_placed(const char *tenant)
{
	Placed key = {.tenant = tenant};

	return bsearch(&key,
				   cache->placed,
				   cache->nplaced,
				   sizeof(Placed),
				   compare_placed);
}

static int
default_slot(const char *tenant, int slots)
{
	int len = (int) strlen(tenant);
	char *name = pg_server_to_any(tenant, len, PG_UTF8);
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	uint64 value;

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (uint8 *) name, strlen(name)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute the slot of a tenant");
	pg_cryptohash_free(hash);
	memcpy(&value, digest, sizeof(value));
	value = pg_ntoh64(value) & PG_INT64_MAX;
	return (int) (value % (uint64) slots);
}

/* The relcache callback: relid has changed, or any table if it is 0. */
static void
forget_placement(Datum arg, Oid relid)
{
	int which;

	(void) arg;
	for (which = 0; which < NTABLES; which++)
	{
		if (relid == InvalidOid || relid == cached_relids[which])
			break;
	}
	if (which == NTABLES)
		return;
	cache_is_fresh = false;
	invalidations_seen++;
}

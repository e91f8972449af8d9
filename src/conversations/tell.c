/*
 * conversations/tell.c: tells destinations of new messages.
 *
 * Most databases have no destination. So each backend remembers whether the
 * table has a row, and a trigger on it makes all of them look again, as for the
 * channels (see channels/channels.c). With destinations, a batch of any size
 * costs one statement; what follows is done by the sender.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "conversations/tell.h"
#include "server/errors.h"
#include "server/statement.h"
#include "wake/outbox.h"

/* Static, because what is remembered belongs to the backend. */
static Oid known_relid = InvalidOid;
static bool is_known = false;
static bool has_destinations = false;
static uint64 invalidations_seen = 0;

static Statement tell = {.sql = "SELECT msgstore._tell_received($1, $2)",
						 .nargs = 2,
						 .argtypes = {TEXTARRAYOID, UUIDARRAYOID}};

static bool any_destinations(void);
static void look(void);
static void forget(Datum arg, Oid relid);

PG_FUNCTION_INFO_V1(msgstore_forget_destinations);

/* The trigger function that makes every backend look again. */
Datum
msgstore_forget_destinations(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("function \"%s\" was not called as a trigger",
						"msgstore._forget_destinations")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

void
tell_received(const ConversationMessage *messages, int n)
{
	Datum *tenants;
	Datum *ids;
	Datum values[2];

	if (n == 0 || !any_destinations())
		return;
	tenants = palloc(sizeof(Datum) * n);
	ids = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		tenants[i] = PointerGetDatum(messages[i].tenant_id);
		ids[i] = UUIDPGetDatum(&messages[i].id);
	}
	values[0] = statement_array(TEXTOID, tenants, NULL, n);
	values[1] = statement_array(UUIDOID, ids, NULL, n);
	statement_execute(&tell, values, NULL);
	wake_outbox_at_commit();
}

static bool
any_destinations(void)
{
	AcceptInvalidationMessages();
	if (!is_known)
		look();
	return has_destinations;
}

/* If an invalidation arrives meanwhile, the next call looks again. */
static void
look(void)
{
	static bool callback_registered = false;
	Oid schema = get_namespace_oid("msgstore", false);
	Relation rel;
	SysScanDesc scan;
	uint64 seen;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		callback_registered = true;
	}
	known_relid = get_relname_relid("destinations", schema);
	rel = table_open(known_relid, AccessShareLock);
	seen = invalidations_seen;
	/* Without a snapshot, the scan takes a new one, as for a catalog. */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	has_destinations = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	is_known = seen == invalidations_seen;
}

/* The relcache callback: relid has changed, or any table if it is 0. */
static void
forget(Datum arg, Oid relid)
{
	(void) arg;
	if (relid != InvalidOid && relid != known_relid)
		return;
	is_known = false;
	invalidations_seen++;
}

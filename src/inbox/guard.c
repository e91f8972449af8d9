/*
 * inbox/guard.c: one session at a time stores a provider's id.
 *
 * Between the look for an id and the row that has it nobody else may store it.
 * INSERT … ON CONFLICT sees to that with a row that is taken back when another
 * one was faster: it has to be confirmed afterwards, in the log of the server
 * too, and goes in by itself. Here a lock by the hash of the id is held over
 * both instead, so that many rows can go in page by page. It is held for as
 * long as that takes and no longer: who finds the id in a transaction that has
 * not ended lets go of everything, waits for its end and looks again.
 *
 * Whoever writes to the log by other means is not kept out, and meets the
 * unique constraint.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "inbox/guard.h"
#include "server/settings.h"

/*
 * Advisory locks, as pg_locks shows them, with a subid that the server's
 * functions do not use, and wake/lanes.c neither.
 */
#define GUARD_LOCK_CLASS 0x6d736773 /* "msgs" */
#define GUARD_LOCK_SUBID 4

/* The columns of event_log_provider_message_key. */
#define KEY_COLUMNS 3

/* Whom to wait for. */
typedef struct Unfinished
{
	TransactionId xid; /* invalid: nobody */
	uint32 token;	   /* of a row that may be taken back, or 0 */
	ItemPointerData row;
} Unfinished;

static int find_fresh(InboxGuard *guard,
					  InboxItem **items,
					  int n,
					  InboxItem **fresh,
					  Unfinished *unfinished);
static bool is_same(const InboxItem *a, const InboxItem *b);
static bool
find_row(InboxGuard *guard, const InboxItem *item, Unfinished *unfinished);
static void lock_keys(InboxGuard *guard, InboxItem **items, int n);
static uint32 hash_key(const InboxItem *item);
static int compare_locks(const void *a, const void *b);
static void set_tag(LOCKTAG *tag, uint32 lock);
static void wait_for(InboxGuard *guard, Unfinished *unfinished);

void
inbox_guard_open(InboxGuard *guard, Relation log)
{
	Oid schema = RelationGetNamespace(log);

	guard->log = log;
	guard->index =
		index_open(get_relname_relid("event_log_provider_message_key", schema),
				   AccessShareLock);
	InitDirtySnapshot(guard->snapshot);
	guard->slot = table_slot_create(log, NULL);
	guard->scan = index_beginscan(log,
								  guard->index,
								  &guard->snapshot,
#if PG_VERSION_NUM >= 180000
								  NULL,
#endif
								  KEY_COLUMNS,
								  0);
	guard->tenant_id = CStringGetTextDatum(msgstore_tenant_id);
	guard->nlocks = 0;
}

void
inbox_guard_close(InboxGuard *guard)
{
	index_endscan(guard->scan);
	ExecDropSingleTupleTableSlot(guard->slot);
	index_close(guard->index, AccessShareLock);
}

int
inbox_guard_take(InboxGuard *guard, InboxItem **items, int n, InboxItem **fresh)
{
	Unfinished unfinished;
	int nfresh;

	Assert(n <= INBOX_GUARDED_MOST);
	for (;;)
	{
		lock_keys(guard, items, n);
		nfresh = find_fresh(guard, items, n, fresh, &unfinished);
		if (!TransactionIdIsValid(unfinished.xid))
			return nfresh;
		inbox_guard_release(guard);
		wait_for(guard, &unfinished);
	}
}

/* Of the same event the first is the one that is new. */
static int
find_fresh(InboxGuard *guard,
		   InboxItem **items,
		   int n,
		   InboxItem **fresh,
		   Unfinished *unfinished)
{
	int nfresh = 0;
	int i;

	unfinished->xid = InvalidTransactionId;
	for (i = 0; i < n; i++)
	{
		if (items[i]->provider_message_id != NULL &&
			((i > 0 && is_same(items[i - 1], items[i])) ||
			 find_row(guard, items[i], unfinished)))
			continue;
		if (TransactionIdIsValid(unfinished->xid))
			break;
		fresh[nfresh++] = items[i];
	}
	return nfresh;
}

static bool
is_same(const InboxItem *a, const InboxItem *b)
{
	const text *aid = a->provider_message_id;
	const text *bid = b->provider_message_id;

	return VARSIZE_ANY_EXHDR(aid) == VARSIZE_ANY_EXHDR(bid) &&
		   memcmp(VARDATA_ANY(aid), VARDATA_ANY(bid), VARSIZE_ANY_EXHDR(aid)) ==
			   0 &&
		   strcmp(a->channel, b->channel) == 0;
}

/* True: it is there for good, or by this transaction. */
static bool
find_row(InboxGuard *guard, const InboxItem *item, Unfinished *unfinished)
{
	Datum values[KEY_COLUMNS] = {guard->tenant_id,
								 CStringGetTextDatum(item->channel),
								 PointerGetDatum(item->provider_message_id)};
	ScanKeyData keys[KEY_COLUMNS];
	TransactionId xid;
	int i;

	for (i = 0; i < KEY_COLUMNS; i++)
		ScanKeyEntryInitialize(&keys[i],
							   0,
							   i + 1,
							   BTEqualStrategyNumber,
							   InvalidOid,
							   guard->index->rd_indcollation[i],
							   F_TEXTEQ,
							   values[i]);
	index_rescan(guard->scan, keys, KEY_COLUMNS, NULL, 0);
	if (!index_getnext_slot(guard->scan, ForwardScanDirection, guard->slot))
		return false;
	xid = TransactionIdIsValid(guard->snapshot.xmin) ? guard->snapshot.xmin
													 : guard->snapshot.xmax;
	unfinished->xid = xid;
	unfinished->token = guard->snapshot.speculativeToken;
	unfinished->row = guard->slot->tts_tid;
	ExecClearTuple(guard->slot);
	return !TransactionIdIsValid(xid);
}

/* In one order, so that two who wait do not deadlock. */
static void
lock_keys(InboxGuard *guard, InboxItem **items, int n)
{
	int kept = 0;
	LOCKTAG tag;
	int i;

	guard->nlocks = 0;
	for (i = 0; i < n; i++)
	{
		if (items[i]->provider_message_id != NULL)
			guard->locks[guard->nlocks++] = hash_key(items[i]);
	}
	qsort(guard->locks, guard->nlocks, sizeof(uint32), compare_locks);
	for (i = 0; i < guard->nlocks; i++)
	{
		if (kept > 0 && guard->locks[kept - 1] == guard->locks[i])
			continue;
		guard->locks[kept++] = guard->locks[i];
		set_tag(&tag, guard->locks[i]);
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
	}
	guard->nlocks = kept;
}

void
inbox_guard_release(InboxGuard *guard)
{
	LOCKTAG tag;
	int i;

	for (i = 0; i < guard->nlocks; i++)
	{
		set_tag(&tag, guard->locks[i]);
		(void) LockRelease(&tag, ExclusiveLock, false);
	}
	guard->nlocks = 0;
}

static uint32
hash_key(const InboxItem *item)
{
	const text *id = item->provider_message_id;
	uint32 hash = string_hash(msgstore_tenant_id, NAMEDATALEN);

	hash = hash_combine(hash, string_hash(item->channel, NAMEDATALEN));
	return hash_combine(hash,
						hash_bytes((const unsigned char *) VARDATA_ANY(id),
								   VARSIZE_ANY_EXHDR(id)));
}

static int
compare_locks(const void *a, const void *b)
{
	uint32 left = *(const uint32 *) a;
	uint32 right = *(const uint32 *) b;

	return (left > right) - (left < right);
}

static void
set_tag(LOCKTAG *tag, uint32 lock)
{
	SET_LOCKTAG_ADVISORY(*tag,
						 MyDatabaseId,
						 GUARD_LOCK_CLASS,
						 lock,
						 GUARD_LOCK_SUBID);
}

/* Its row was found, so the scan has keys; no page stays pinned. */
static void
wait_for(InboxGuard *guard, Unfinished *unfinished)
{
	index_rescan(guard->scan, NULL, KEY_COLUMNS, NULL, 0);
	if (unfinished->token != 0)
		SpeculativeInsertionWait(unfinished->xid, unfinished->token);
	else
		XactLockTableWait(unfinished->xid,
						  guard->log,
						  &unfinished->row,
						  XLTW_InsertIndex);
}

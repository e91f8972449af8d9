/*
 * inbox/guard.c: lets one session at a time store a provider message id.
 *
 * No other session may store an id between the lookup that does not find it
 * and the insertion. INSERT ... ON CONFLICT ensures that by a speculative
 * insertion, which works for single rows only and is confirmed by another WAL
 * record. Here a lock on the hash of the id covers both steps instead, so that
 * many rows can be inserted page by page. The lock is released right after the
 * insertion, not at the end of the transaction. A session that finds the id in
 * a transaction that is still running releases its locks, waits for that
 * transaction, and looks again.
 *
 * Writers that do not come through here are not kept out; they meet the unique
 * constraint.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "common/hashfn.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "inbox/guard.h"
#include "inbox/identity.h"
#include "server/locks.h"
#include "server/settings.h"
#include "server/versions.h"

/* The transaction to wait for. */
typedef struct Unfinished
{
	TransactionId xid; /* invalid: none */
	uint32 token;	   /* of a speculative insertion, or 0 */
	ItemPointerData row;
} Unfinished;

static int find_fresh(InboxGuard *guard,
					  InboxItem **items,
					  int n,
					  InboxItem **fresh,
					  Unfinished *unfinished);
static bool
find_row(InboxGuard *guard, const InboxItem *item, Unfinished *unfinished);
static void lock_keys(InboxGuard *guard, InboxItem **items, int n);
static uint32 hash_key(const InboxItem *item);
static int compare_locks(const void *a, const void *b);
static void wait_for(InboxGuard *guard, Unfinished *unfinished);

void
inbox_guard_open(InboxGuard *guard, Relation log, Relation index)
{
	Datum tenant_id = CStringGetTextDatum(msgstore_tenant_id);
	int i;

	guard->log = log;
	guard->index = index;
	InitDirtySnapshot(guard->snapshot);
	guard->slot = table_slot_create(log, NULL);
	guard->scan = index_beginscan(log,
								  guard->index,
								  &guard->snapshot,
								  NULL,
								  INBOX_KEY_COLUMNS,
								  0,
								  0);
	for (i = 0; i < INBOX_KEY_COLUMNS; i++)
		ScanKeyEntryInitialize(&guard->keys[i],
							   0,
							   i + 1,
							   BTEqualStrategyNumber,
							   InvalidOid,
							   guard->index->rd_indcollation[i],
							   F_TEXTEQ,
							   tenant_id);
	guard->nlocks = 0;
}

void
inbox_guard_close(InboxGuard *guard)
{
	index_endscan(guard->scan);
	ExecDropSingleTupleTableSlot(guard->slot);
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

/* Of several items with the same event, only the first can be new. */
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
			((i > 0 && inbox_compare_events(items[i - 1], items[i]) == 0) ||
			 find_row(guard, items[i], unfinished)))
			continue;
		if (TransactionIdIsValid(unfinished->xid))
			break;
		fresh[nfresh++] = items[i];
	}
	return nfresh;
}

/*
 * Returns whether the row exists, committed or inserted by this transaction.
 * If that depends on another transaction, sets unfinished and returns false.
 */
static bool
find_row(InboxGuard *guard, const InboxItem *item, Unfinished *unfinished)
{
	TransactionId xid;

	guard->keys[1].sk_argument = PointerGetDatum(item->provider_message_id);
	guard->keys[2].sk_argument = CStringGetTextDatum(item->channel);
	guard->keys[3].sk_argument = PointerGetDatum(item->identity);
	index_rescan(guard->scan, guard->keys, INBOX_KEY_COLUMNS, NULL, 0);
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

bool
inbox_guard_finds(InboxGuard *guard, const InboxItem *item)
{
	Unfinished unfinished = {.xid = InvalidTransactionId};

	return item->provider_message_id != NULL &&
		   (find_row(guard, item, &unfinished) ||
			TransactionIdIsValid(unfinished.xid));
}

/* In sort order, so that sessions do not deadlock. */
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
		tag = locks_tag(LOCK_GUARD, guard->locks[i]);
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
		tag = locks_tag(LOCK_GUARD, guard->locks[i]);
		(void) LockRelease(&tag, ExclusiveLock, false);
	}
	guard->nlocks = 0;
}

static uint32
hash_key(const InboxItem *item)
{
	const text *id = item->provider_message_id;
	const text *identity = item->identity;
	uint32 hash = string_hash(msgstore_tenant_id, NAMEDATALEN);

	hash = hash_combine(hash, string_hash(item->channel, NAMEDATALEN));
	hash = hash_combine(hash,
						hash_bytes((const unsigned char *) VARDATA_ANY(id),
								   VARSIZE_ANY_EXHDR(id)));
	if (VARSIZE_ANY_EXHDR(identity) == 0)
		return hash;
	return hash_combine(
		hash,
		hash_bytes((const unsigned char *) VARDATA_ANY(identity),
				   VARSIZE_ANY_EXHDR(identity)));
}

static int
compare_locks(const void *a, const void *b)
{
	uint32 left = *(const uint32 *) a;
	uint32 right = *(const uint32 *) b;

	return (left > right) - (left < right);
}

/* The rescan unpins the index page; a row was found, so the scan has keys. */
static void
wait_for(InboxGuard *guard, Unfinished *unfinished)
{
	index_rescan(guard->scan, NULL, INBOX_KEY_COLUMNS, NULL, 0);
	if (unfinished->token != 0)
		SpeculativeInsertionWait(unfinished->xid, unfinished->token);
	else
		XactLockTableWait(unfinished->xid,
						  guard->log,
						  &unfinished->row,
						  XLTW_InsertIndex);
}

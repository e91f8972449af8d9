/*
 * inbox/guard.h: lets one session at a time store a provider message id.
 */
#ifndef INBOX_GUARD_H
#define INBOX_GUARD_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

#include "inbox/item.h"

/* Items guarded at once; each takes an entry in the lock table. */
#define INBOX_GUARDED_MOST 32

/* The columns of event_log_provider_message_key. */
#define INBOX_KEY_COLUMNS 4

typedef struct InboxGuard
{
	/* the log, and a scan of its unique index */
	Relation log;
	Relation index;
	SnapshotData snapshot;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	ScanKeyData keys[INBOX_KEY_COLUMNS]; /* of the tenant and the last item */

	/* locks held */
	uint32 locks[INBOX_GUARDED_MOST];
	int nlocks;
} InboxGuard;

/*
 * The caller has opened the log and its index event_log_provider_message_key,
 * and has locked the log for writing.
 */
extern void inbox_guard_open(InboxGuard *guard, Relation log, Relation index);
extern void inbox_guard_close(InboxGuard *guard);

/*
 * Puts the items that are not in the log into fresh, in their order, and
 * returns how many. No other session can store them until the guard is
 * released or the transaction ends. The items must be in the order of their
 * provider message ids. Waits for running transactions that have stored or
 * deleted one of the events.
 */
extern int inbox_guard_take(InboxGuard *guard,
							InboxItem **items,
							int n,
							InboxItem **fresh);

/* Called once the rows are inserted, so that other sessions can find them. */
extern void inbox_guard_release(InboxGuard *guard);

/* Whether the event has a row, be it of a transaction that is still running. */
extern bool inbox_guard_finds(InboxGuard *guard, const InboxItem *item);

#endif /* INBOX_GUARD_H */

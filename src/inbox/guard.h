/*
 * inbox/guard.h: one session at a time stores a provider's id.
 */
#ifndef INBOX_GUARD_H
#define INBOX_GUARD_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/snapshot.h"

#include "inbox/inbox.h"

/* So many items are guarded at once: each takes a place of the lock table. */
#define INBOX_GUARDED_MOST 32

typedef struct InboxGuard
{
	/* the log, and a place in its index */
	Relation log;
	Relation index;
	SnapshotData snapshot;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	Datum tenant_id;

	/* what is held */
	uint32 locks[INBOX_GUARDED_MOST];
	int nlocks;
} InboxGuard;

/* The log is open, and locked for writing. */
extern void inbox_guard_open(InboxGuard *guard, Relation log);
extern void inbox_guard_close(InboxGuard *guard);

/*
 * Finds out which of the items are not in the log, and puts them into fresh,
 * in their order; returns how many they are. They stay so until the guard is
 * released, or the transaction ends. The items are in the order of their
 * provider's ids. Waits for transactions that have stored or removed one of
 * them and have not ended.
 */
extern int inbox_guard_take(InboxGuard *guard,
							InboxItem **items,
							int n,
							InboxItem **fresh);

/* Their rows are there now: whoever looks for them finds them. */
extern void inbox_guard_release(InboxGuard *guard);

#endif /* INBOX_GUARD_H */

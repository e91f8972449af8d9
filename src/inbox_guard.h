/*
 * inbox_guard.h: one session at a time stores a provider's id.
 */
#ifndef INBOX_GUARD_H
#define INBOX_GUARD_H

#include "inbox.h"

/* So many items are guarded at once: each takes a place of the lock table. */
#define INBOX_GUARDED_MOST 32

/* What is held. */
typedef struct InboxGuard
{
	uint32 locks[INBOX_GUARDED_MOST];
	int n;
} InboxGuard;

/*
 * Finds out which of the items are not in the log, and puts them into fresh,
 * in their order; returns how many they are. They stay so until the guard is
 * released, or the transaction ends. The items are in the order of their
 * provider's ids. Waits for transactions that have stored or removed one of
 * them and have not ended.
 */
extern int
inbox_guard(InboxGuard *guard, InboxItem **items, int n, InboxItem **fresh);

/* Their rows are there now: whoever looks for them finds them. */
extern void inbox_guard_release(InboxGuard *guard);

#endif /* INBOX_GUARD_H */

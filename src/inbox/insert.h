/*
 * inbox/insert.h: events of the log and the queue.
 */
#ifndef INBOX_INSERT_H
#define INBOX_INSERT_H

#include "inbox/inbox.h"

/*
 * Stores the items that are new, and marks them. They are in the order of their
 * provider's ids. False: nothing was done, a statement has to do it.
 */
extern bool inbox_insert(InboxItem **items, int n);

#endif /* INBOX_INSERT_H */

/*
 * inbox_insert.h: events of the log and the queue.
 */
#ifndef INBOX_INSERT_H
#define INBOX_INSERT_H

#include "inbox.h"

/*
 * Stores the items, which are new, and marks them. False: nothing was done, a
 * statement has to do it.
 */
extern bool inbox_insert(InboxItem **items, int n);

#endif /* INBOX_INSERT_H */

/*
 * inbox/insert.h: inserts events into the log and the queue.
 */
#ifndef INBOX_INSERT_H
#define INBOX_INSERT_H

#include "inbox/item.h"

/*
 * Stores the items that are new, and marks them as stored. The items must be
 * in the order of their provider message ids. The caller is connected to SPI.
 */
extern void inbox_insert(InboxItem **items, int n);

#endif /* INBOX_INSERT_H */

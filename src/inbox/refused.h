/*
 * inbox/refused.h: keeps refused items, so that they can be submitted again.
 */
#ifndef INBOX_REFUSED_H
#define INBOX_REFUSED_H

#include "inbox/item.h"

/* Stores the refused items if msgstore.keep_refused is on. */
extern void inbox_keep_refused(InboxItem *items, int n);

#endif /* INBOX_REFUSED_H */

/*
 * inbox/check.h: validation of items.
 */
#ifndef INBOX_CHECK_H
#define INBOX_CHECK_H

#include "inbox/item.h"

/* Validates and completes the item; false if it was refused. */
extern bool inbox_check_item(InboxItem *item, bool inbound);

/*
 * Returns what is wrong with a normalized address, and in expected what it
 * must be; NULL if the address is valid.
 */
extern const char *inbox_address_fault(const text *normalized,
									   const char **expected);

#endif /* INBOX_CHECK_H */

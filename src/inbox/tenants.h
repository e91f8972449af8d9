/*
 * inbox/tenants.h: items that name their tenant.
 */
#ifndef INBOX_TENANTS_H
#define INBOX_TENANTS_H

#include "inbox/item.h"

typedef void (*InboxStore)(InboxItem *items, int n);

/*
 * Calls store for the items of each tenant, with the session limited to it, and
 * leaves the items in the order of the call. Raises MS421 or MS503, before it
 * stores anything, if a tenant cannot be written here.
 */
extern void inbox_store_by_tenant(InboxItem *items, int n, InboxStore store);

#endif /* INBOX_TENANTS_H */

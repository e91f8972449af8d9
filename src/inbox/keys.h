/*
 * inbox/keys.h: idempotency keys.
 */
#ifndef INBOX_KEYS_H
#define INBOX_KEYS_H

#include "inbox/item.h"

/*
 * Claims the idempotency keys of the items for their ids, within a scope. An
 * item whose key is taken becomes a duplicate with the id of the first
 * request, or is refused if its content differs. The field first of an item
 * points to the earlier item of this call that has the same key.
 */
extern void inbox_claim_keys(InboxItem **items, int n, const char *scope);

/* Claims the content of the item instead of a key, without expiry. */
extern void inbox_claim_content(InboxItem *item, const char *scope);

/* Stores the current id of the item under the key that it has claimed. */
extern void inbox_correct_key(const InboxItem *item, const char *scope);

/* Refuses an item whose key was used for another request. */
extern void inbox_refuse_key(InboxItem *item);

#endif /* INBOX_KEYS_H */

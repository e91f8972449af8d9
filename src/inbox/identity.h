/*
 * inbox/identity.h: what tells events with the same provider message id apart.
 */
#ifndef INBOX_IDENTITY_H
#define INBOX_IDENTITY_H

#include "channels/channels.h"
#include "inbox/item.h"

/*
 * Returns the values of the channel's provider_id_fields in the item's payload:
 * empty for a channel without such fields. The addresses must be normalized.
 */
extern text *inbox_make_identity(const InboxItem *item, const Channel *channel);

/* Order of the items' events: 0 for the same channel, id and identity. */
extern int inbox_compare_events(const InboxItem *left, const InboxItem *right);

#endif /* INBOX_IDENTITY_H */

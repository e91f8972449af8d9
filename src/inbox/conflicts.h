/*
 * inbox/conflicts.h: duplicates whose content differs from the stored event.
 */
#ifndef INBOX_CONFLICTS_H
#define INBOX_CONFLICTS_H

#include "inbox/item.h"

/*
 * Compares a duplicate with the payload of the stored event, and notes in the
 * item if they differ.
 */
extern void inbox_compare_payload(InboxItem *item, Jsonb *stored);

/*
 * Counts, logs and stores the conflicts of the items. The caller is connected
 * to SPI, and has stored its events.
 */
extern void inbox_record_conflicts(InboxItem *items, int n);

#endif /* INBOX_CONFLICTS_H */

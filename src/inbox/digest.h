/*
 * inbox/digest.h: SHA-256 digests that tell whether two requests are the same.
 */
#ifndef INBOX_DIGEST_H
#define INBOX_DIGEST_H

#include "inbox/item.h"

/*
 * The digest of channel and payload. Payloads that are equal as jsonb have the
 * same one.
 */
extern bytea *inbox_digest_request(const InboxItem *item);

/*
 * The digest of a message: of its channel and payload, but the timestamp counts
 * as an instant, the type counts only as far as it selects the channel, and a
 * field that is null counts like one that is absent.
 */
extern bytea *inbox_digest_content(const InboxItem *item);

#endif /* INBOX_DIGEST_H */

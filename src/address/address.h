/*
 * address/address.h: normalized addresses and conversation keys for other
 * rooms.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "address/bytes.h"
#include "channels/channels.h"

/*
 * The normalized address as the channel has it, allocated in the current
 * context; empty only if the input is blank. The verdict says whether it is one
 * address; what is not comes back trimmed.
 */
extern text *address_normalize(const Channel *channel,
							   const char *address,
							   int len,
							   AddressVerdict *verdict);

/*
 * What is wrong with an address of that verdict, to be said behind its name,
 * with a DETAIL and a HINT; NULL for ADDRESS_SINGLE. The HINT may be NULL.
 */
extern const char *address_fault(const Channel *channel,
								 AddressVerdict verdict,
								 const char **detail,
								 const char **hint);

/* Whether the text, in the server's encoding, is all white space. */
extern bool address_is_blank(const char *s, int len);

/* Compare two normalized addresses by bytes, whatever the collation. */
extern int address_compare(const text *a, const text *b);

/*
 * The key of the conversation between two normalized addresses, the same for
 * both directions; allocated in the current context.
 */
extern text *address_join_key(const char *thread, const text *a, const text *b);

#endif /* ADDRESS_H */

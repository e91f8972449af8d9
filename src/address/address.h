/*
 * address/address.h: what other rooms ask about addresses.
 */
#ifndef ADDRESS_H
#define ADDRESS_H

#include "channels/channels.h"

/*
 * The normalized address, allocated in the current context; empty only if the
 * input is blank.
 */
extern text *address_normalize(AddressKind kind, const char *address, int len);

/* Whether the bytes, in the server's encoding, are all white space. */
extern bool address_is_blank(const char *s, int len);

/* Byte order of two normalized addresses, whatever the database's collation. */
extern int address_compare(const text *a, const text *b);

/*
 * The key of the conversation between two normalized addresses, the same for
 * both directions; allocated in the current context.
 */
extern text *address_join_key(const char *thread, const text *a, const text *b);

#endif /* ADDRESS_H */

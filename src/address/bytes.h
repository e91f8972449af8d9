/*
 * address/bytes.h: the pure part of the address room: bytes in, bytes out.
 *
 * Nothing here knows the server, so it can be fuzzed by itself. Bytes beyond
 * ASCII are UTF-8; bytes that are not are carried along or dropped like any
 * other sign without a meaning, never read as part of a neighbour. Every
 * function is linear in len, reads no byte outside [s, s + len), writes no
 * NUL at the end and keeps no state. s is never NULL.
 */
#ifndef ADDRESS_BYTES_H
#define ADDRESS_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* The longest host name in its ASCII form, and a byte for a final dot. */
#define ADDRESS_HOST_MAX 255

/* Bytes that out must have room for: an international domain can grow. */
#define ADDRESS_ROOM(len) ((len) + ADDRESS_HOST_MAX)

/* Each returns how many bytes it wrote: none only if all is white space. */
extern size_t address_write_phone(const char *s, size_t len, char *out);
extern size_t address_write_email(const char *s, size_t len, char *out);
extern size_t address_write_opaque(const char *s, size_t len, char *out);

/*
 * The first max_clusters grapheme clusters of s, white space collapsed to
 * single spaces and trimmed before. out needs len bytes. Reads no further than
 * to the cut.
 */
extern size_t address_write_snippet(const char *s,
									size_t len,
									size_t max_clusters,
									char *out);

/* How many bytes of Unicode white space s begins with. */
extern size_t address_count_space(const char *s, size_t len);

/* How many bytes are left of s without the white space at its end. */
extern size_t address_trim_end(const char *s, size_t len);

/*
 * The code point at the start of s, len being at least 1, and how many bytes
 * it takes. A byte that begins no valid sequence is a code point of -1 and
 * takes one.
 */
extern size_t address_decode(const char *s, size_t len, int32_t *codepoint);

#endif /* ADDRESS_BYTES_H */

/*
 * bytes.h: the pure part of the address room: bytes in, bytes out.
 *
 * Nothing here knows the server, so it can be fuzzed by itself. Bytes beyond
 * ASCII are UTF-8; a text with an invalid byte is not an address, and a snippet
 * treats it as a character of its own. Every function is linear in len, reads
 * no byte outside [s, s + len), writes no terminating NUL and keeps no state. s
 * is never NULL.
 */
#ifndef ADDRESS_BYTES_H
#define ADDRESS_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a text is one address. */
typedef enum AddressVerdict
{
	ADDRESS_SINGLE,
	ADDRESS_MISSING, /* no address, or one that cannot be read */
	ADDRESS_SEVERAL,
	ADDRESS_TOO_LONG /* a phone number with more digits than E.164 allows */
} AddressVerdict;

/* The longest host name in its ASCII form, and a byte for a final dot. */
#define ADDRESS_HOST_MAX 255

/*
 * The most bytes that a result takes: an international domain can grow, and a
 * local part can get quotation marks.
 */
#define ADDRESS_RESULT_MAX(len) ((len) + ADDRESS_HOST_MAX + 2)

/* The bytes that out must have: behind the result, a working copy of s. */
#define ADDRESS_ROOM(len) (ADDRESS_RESULT_MAX(len) + (len))

/*
 * Each writes the normalized address and returns its length, which is 0 only if
 * s is all white space. What is not ADDRESS_SINGLE is written trimmed, and
 * otherwise unchanged (but see address_write_email). Normalizing a result again
 * gives the same bytes.
 */
extern size_t address_write_phone(const char *s,
								  size_t len,
								  bool keep_plus_tags,
								  char *out,
								  AddressVerdict *verdict);
extern size_t address_write_email(const char *s,
								  size_t len,
								  bool keep_plus_tags,
								  char *out,
								  AddressVerdict *verdict);
extern size_t address_write_opaque(const char *s,
								   size_t len,
								   char *out,
								   AddressVerdict *verdict);

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

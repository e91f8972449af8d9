/*
 * span.h: parts of a text, and what the readers of phone numbers and of e-mail
 * addresses both need.
 */
#ifndef ADDRESS_SPAN_H
#define ADDRESS_SPAN_H

#include "address/bytes.h"

/* From the first byte of a part to behind its last. */
typedef struct Span
{
	const char *start;
	const char *end;
} Span;

static inline size_t
span_len(Span span)
{
	return (size_t) (span.end - span.start);
}

static inline char
span_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/* Without the white space at both ends. */
extern Span span_trim(Span span);

/*
 * A trimmed copy in room, without invisible format characters (Unicode's
 * category Cf). keep_joiners leaves zero-width joiners and non-joiners where
 * they may be part of a word, between two characters beyond ASCII. The copy is
 * no longer than the span and may be written over it. It is empty if the text
 * is not UTF-8: without what is removed, invalid bytes could become valid.
 */
extern Span span_clean(Span span, bool keep_joiners, char *room);

/* Whether it begins with the lower-case ASCII prefix, in any case. */
extern bool span_begins(Span span, const char *prefix);

/*
 * Remove the scheme, colon included, from the front as often as it is there;
 * but not if nothing is behind it. Returns whether it was there.
 */
extern bool span_strip_scheme(Span *span, const char *scheme);

/* Remove everything from the first of the characters on; but not everything. */
extern void span_cut(Span *span, const char *characters);

/*
 * Decode %XX in place: the span must be in writable memory. False, with the
 * span in an unknown state, if the result has a NUL or is not UTF-8.
 */
extern bool span_decode_percent(Span *span);

/* Both return the number of bytes written. */
extern size_t span_write(Span span, char *out);
extern size_t span_write_lower(Span span, char *out);

/* Copy without the joiners that span_clean kept; out may be s. */
extern size_t span_drop_joiners(const char *s, size_t len, char *out);

#endif /* ADDRESS_SPAN_H */

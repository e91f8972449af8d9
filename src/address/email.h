/*
 * address/email.h: what the files about e-mail addresses offer each other and
 * the reader of phone numbers.
 */
#ifndef ADDRESS_EMAIL_H
#define ADDRESS_EMAIL_H

#include "address/span.h"

/*
 * What address_write_email does with a text that span_clean has copied, joiners
 * kept, into writable memory. *len is set only for ADDRESS_SINGLE; otherwise
 * the escapes of a URI may have been decoded in place.
 */
extern AddressVerdict
email_read(Span text, bool keep_plus_tags, char *out, size_t *len);

/*
 * In email_list.c: find the part of a list that is an address, without its
 * display name, or could be a name without a domain. False, with the verdict,
 * if there is not exactly one.
 */
extern bool email_find(Span text, AddressVerdict *verdict, Span *found);

/* Whether what is not an address looks like a list without commas. */
extern bool email_is_spaced_list(Span text);

/* What is behind white space and comments. An open comment is not skipped. */
extern const char *email_skip_space(const char *at, const char *end);

#endif /* ADDRESS_EMAIL_H */

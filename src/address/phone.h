/*
 * address/phone.h: what the files about phone numbers share.
 */
#ifndef ADDRESS_PHONE_H
#define ADDRESS_PHONE_H

#include "address/span.h"

/* E.164: a number has at most so many digits, country code included. */
#define PHONE_DIGITS_MAX 15

/* What a text was found to be. */
typedef enum Reading
{
	READING_NUMBER,
	READING_EMAIL,
	READING_NAME,
	READING_FAULT /* the verdict says which */
} Reading;

typedef struct Phone
{
	bool keep_plus_tags;
	char *out;
	size_t len;
	size_t digits;
	Span context; /* the value of phone-context, empty if there is none */
	Span name;	  /* set for READING_NAME */
	AddressVerdict verdict;
} Phone;

/*
 * Read a text that has no scheme, no brackets and is no e-mail address: a
 * number, which is written, or a name.
 */
extern Reading phone_read_number(Phone *phone, Span text);

/* Whether the text is a list in which one part is nothing but a number. */
extern bool phone_has_listed_number(Span text);

/*
 * Whether the rest is parameters of RFC 3966, ";name" or ";name=value" each.
 * Sets the context to the value of phone-context, if that is among them.
 */
extern bool phone_take_parameters(Span rest, Span *context);

/*
 * Append the context to a local number, which is a different one in each
 * context: a domain, or the beginning of global numbers. Returns false if it is
 * neither. A global number needs no context.
 */
extern bool phone_add_context(Phone *phone);

#endif /* ADDRESS_PHONE_H */

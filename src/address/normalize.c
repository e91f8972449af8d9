/*
 * address/normalize.c: one spelling for each phone number and mail address.
 *
 * Two spellings of one address must give the same bytes, or one person has two
 * conversations; two addresses must never give the same bytes, or two people
 * share one. So a step that would leave nothing is not taken, and what is
 * normal already stays as it is: normalizing twice is normalizing once.
 *
 * Letters are lowered as ASCII only, so that no locale changes a key.
 */
#include <stdbool.h>
#include <string.h>

#include <idn2.h>

#include "address/bytes.h"

/*
 * No domain longer than this, in bytes of UTF-8, has an ASCII form within the
 * limit of the DNS: that has 253 characters, one or more for each of its at
 * most four bytes. Longer ones are not handed to libidn2, whose work grows
 * faster than its input.
 */
#define DOMAIN_BYTES_MAX (4 * 253)

/* A part of the input, from its first byte to behind its last. */
typedef struct Span
{
	const char *start;
	const char *end;
} Span;

static Span trimmed_span(const char *start, const char *end);
static bool strip_scheme(Span *span, const char *scheme);
static bool cut_before(Span *span, const char *signs);
static Span phone_part(Span address);
static char phone_sign(int32_t codepoint);
static Span mailbox_part(Span address);
static Span bracketed_part(Span address);
static size_t write_local_part(Span local, char *out);
static size_t write_domain(Span domain, char *out);
static bool is_host_name(const char *s);
static size_t write_lower(Span span, char *out);
static size_t write_span(Span span, char *out);
static char lower_ascii(char c);

size_t
address_write_phone(const char *s, size_t len, char *out)
{
	Span phone = phone_part(trimmed_span(s, s + len));
	const char *at = phone.start;
	size_t n = 0;
	bool digit_seen = false;

	while (at < phone.end)
	{
		int32_t codepoint;
		char sign;

		at += address_decode(at, (size_t) (phone.end - at), &codepoint);
		sign = phone_sign(codepoint);
		if (sign == '\0' || (sign == '+' && n > 0))
			continue;
		out[n++] = sign;
		digit_seen |= sign != '+';
	}

	/* A sender's name has no digits, and it is all there is to tell it by. */
	return digit_seen ? n : write_span(phone, out);
}

size_t
address_write_email(const char *s, size_t len, char *out)
{
	Span mailbox = mailbox_part(trimmed_span(s, s + len));
	Span local = mailbox;
	Span domain = mailbox;
	const char *at;
	size_t n;

	at = memchr(mailbox.start, '@', (size_t) (mailbox.end - mailbox.start));
	if (at == NULL)
		return write_lower(mailbox, out);
	local.end = at;
	domain.start = at + 1;
	n = write_local_part(local, out);
	out[n++] = '@';
	return n + write_domain(domain, out + n);
}

size_t
address_write_opaque(const char *s, size_t len, char *out)
{
	return write_span(trimmed_span(s, s + len), out);
}

static Span
trimmed_span(const char *start, const char *end)
{
	Span span;

	start += address_count_space(start, (size_t) (end - start));
	span.start = start;
	span.end = start + address_trim_end(start, (size_t) (end - start));
	return span;
}

/*
 * Take the scheme, with its colon and in any case, from the front as often as
 * it stands there; but not if nothing is behind it.
 */
static bool
strip_scheme(Span *span, const char *scheme)
{
	size_t len = strlen(scheme);
	bool stripped = false;

	while ((size_t) (span->end - span->start) > len)
	{
		for (size_t i = 0; i < len; i++)
			if (lower_ascii(span->start[i]) != scheme[i])
				return stripped;
		*span = trimmed_span(span->start + len, span->end);
		stripped = true;
	}
	return stripped;
}

/* Drop all from the first of the signs on; but not if that is everything. */
static bool
cut_before(Span *span, const char *signs)
{
	for (const char *at = span->start; at < span->end; at++)
	{
		if (*at == '\0' || strchr(signs, *at) == NULL)
			continue;
		if (at == span->start)
			return false;
		*span = trimmed_span(span->start, at);
		return true;
	}
	return false;
}

/*
 * What is dialled, without the scheme of a URI and the parameters that only a
 * URI has: the digits of ";ext=12" are not part of the number.
 */
static Span
phone_part(Span address)
{
	bool is_uri = false;

	while (strip_scheme(&address, "tel:") || strip_scheme(&address, "sms:") ||
		   strip_scheme(&address, "whatsapp:"))
		is_uri = true;
	if (is_uri)
		cut_before(&address, ";?");
	return address;
}

/*
 * The digit or plus that the code point stands for, or NUL. Full-width forms
 * are what Japanese keyboards write; without them the digits that are left
 * would be somebody else's number.
 */
static char
phone_sign(int32_t codepoint)
{
	if (codepoint >= 0xFF01 && codepoint <= 0xFF5E)
		codepoint -= 0xFF01 - '!';
	if ((codepoint >= '0' && codepoint <= '9') || codepoint == '+')
		return (char) codepoint;
	return '\0';
}

/* The mailbox without the name before it, "mailto:" and what that carries. */
static Span
mailbox_part(Span address)
{
	address = bracketed_part(address);
	if (strip_scheme(&address, "mailto:"))
		cut_before(&address, "?");
	return address;
}

/*
 * What the last pair of angle brackets holds that holds anything, else all. A
 * pair has no bracket inside, so the part cannot be divided again.
 */
static Span
bracketed_part(Span address)
{
	Span part = address;
	const char *open = NULL;

	for (const char *at = address.start; at < address.end; at++)
	{
		if (*at == '<')
			open = at;
		else if (*at == '>' && open != NULL)
		{
			Span inside = trimmed_span(open + 1, at);

			if (inside.start < inside.end)
				part = inside;
			open = NULL;
		}
	}
	return part;
}

/*
 * Without the tag, unless the tag is all there is: every such address would
 * become the same participant. Nor if the part has an angle bracket: without
 * what the tag holds it could be one of a pair the next time.
 */
static size_t
write_local_part(Span local, char *out)
{
	size_t len = (size_t) (local.end - local.start);

	if (memchr(local.start, '<', len) == NULL)
		cut_before(&local, "+");
	return write_lower(local, out);
}

/*
 * The ASCII form as browsers and mail servers look it up (UTS #46). A domain
 * that has none stays as it is: it can still be told from others. So does one
 * whose ASCII form is no host name: a full-width bracket or at sign turned
 * into the sign itself would be read as such the next time.
 */
static size_t
write_domain(Span domain, char *out)
{
	size_t len = write_lower(domain, out);
	char name[DOMAIN_BYTES_MAX + 1];
	uint8_t *ascii = NULL;
	bool is_ascii = true;

	for (size_t i = 0; i < len && is_ascii; i++)
		is_ascii = (unsigned char) out[i] < 0x80;
	if (is_ascii || len > DOMAIN_BYTES_MAX || memchr(out, '\0', len) != NULL)
		return len;
	memcpy(name, out, len);
	name[len] = '\0';
	if (idn2_lookup_u8((const uint8_t *) name,
					   &ascii,
					   IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
		return len;
	if (is_host_name((const char *) ascii))
	{
		len = strlen((const char *) ascii);
		memcpy(out, ascii, len);
	}
	idn2_free(ascii);
	return len;
}

static bool
is_host_name(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-._");

	return len > 0 && len <= ADDRESS_HOST_MAX && s[len] == '\0';
}

static size_t
write_lower(Span span, char *out)
{
	size_t n = 0;

	for (const char *at = span.start; at < span.end; at++)
		out[n++] = lower_ascii(*at);
	return n;
}

static size_t
write_span(Span span, char *out)
{
	size_t len = (size_t) (span.end - span.start);

	if (len > 0)
		memcpy(out, span.start, len);
	return len;
}

static char
lower_ascii(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

/*
 * address/span.c: parts of a text, and opaque addresses, which are only
 * trimmed.
 */
#include <string.h>

#include <utf8proc.h>

#include "address/span.h"

#define ZERO_WIDTH_NON_JOINER 0x200C
#define ZERO_WIDTH_JOINER 0x200D

static bool is_format(int32_t codepoint);
static bool joins_words(const char *before, const char *start, Span rest);
static bool is_utf8(Span span);
static int hex_value(char c);

size_t
address_write_opaque(const char *s,
					 size_t len,
					 char *out,
					 AddressVerdict *verdict)
{
	Span text = span_trim((Span){s, s + len});

	*verdict = text.start < text.end ? ADDRESS_SINGLE : ADDRESS_MISSING;
	return span_write(text, out);
}

Span
span_trim(Span span)
{
	span.start += address_count_space(span.start, span_len(span));
	span.end = span.start + address_trim_end(span.start, span_len(span));
	return span;
}

Span
span_clean(Span span, bool keep_joiners, char *room)
{
	const char *at = span.start;
	char *end = room;

	while (at < span.end)
	{
		int32_t codepoint;
		size_t n;

		if ((unsigned char) *at < 0x80)
		{
			*end++ = *at++;
			continue;
		}
		n = address_decode(at, (size_t) (span.end - at), &codepoint);
		if (codepoint < 0)
			return (Span){room, room};
		if (!is_format(codepoint) ||
			(keep_joiners && codepoint >= ZERO_WIDTH_NON_JOINER &&
			 codepoint <= ZERO_WIDTH_JOINER &&
			 joins_words(end, room, (Span){at + n, span.end})))
		{
			memmove(end, at, n);
			end += n;
		}
		at += n;
	}
	return span_trim((Span){room, end});
}

static bool
is_format(int32_t codepoint)
{
	return codepoint >= 0x80 &&
		   utf8proc_category(codepoint) == UTF8PROC_CATEGORY_CF;
}

/*
 * Whether what was written last and what comes next are beyond ASCII and not
 * white space. Of several joiners in a row only the last can stay.
 */
static bool
joins_words(const char *before, const char *start, Span rest)
{
	int32_t codepoint;

	if (before == start || rest.start == rest.end ||
		(unsigned char) before[-1] < 0x80 ||
		address_trim_end(start, (size_t) (before - start)) !=
			(size_t) (before - start))
		return false;
	(void) address_decode(rest.start, span_len(rest), &codepoint);
	return codepoint >= 0x80 && !is_format(codepoint) &&
		   address_count_space(rest.start, span_len(rest)) == 0;
}

bool
span_begins(Span span, const char *prefix)
{
	size_t len = strlen(prefix);

	if (span_len(span) < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (span_lower(span.start[i]) != prefix[i])
			return false;
	return true;
}

bool
span_strip_scheme(Span *span, const char *scheme)
{
	bool stripped = false;

	while (span_len(*span) > strlen(scheme) && span_begins(*span, scheme))
	{
		*span = span_trim((Span){span->start + strlen(scheme), span->end});
		stripped = true;
	}
	return stripped;
}

void
span_cut(Span *span, const char *characters)
{
	for (const char *at = span->start; at < span->end; at++)
	{
		if (*at == '\0' || strchr(characters, *at) == NULL)
			continue;
		if (at > span->start)
			*span = span_trim((Span){span->start, at});
		return;
	}
}

bool
span_decode_percent(Span *span)
{
	/* The caller's memory is writable, the type only does not say so. */
	char *end = (char *) span->start;
	const char *at = span->start;

	while (at < span->end)
	{
		int high = -1;
		int low = -1;

		if (*at == '%' && span->end - at > 2)
		{
			high = hex_value(at[1]);
			low = hex_value(at[2]);
		}
		if (high >= 0 && low >= 0)
		{
			*end++ = (char) (high << 4 | low);
			at += 3;
		}
		else
			*end++ = *at++;
	}
	span->end = end;
	return is_utf8(*span);
}

static bool
is_utf8(Span span)
{
	while (span.start < span.end)
	{
		int32_t codepoint;

		span.start += address_decode(span.start, span_len(span), &codepoint);
		if (codepoint <= 0)
			return false;
	}
	return true;
}

static int
hex_value(char c)
{
	c = span_lower(c);
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t
span_write(Span span, char *out)
{
	if (span.start < span.end)
		memcpy(out, span.start, span_len(span));
	return span_len(span);
}

size_t
span_write_lower(Span span, char *out)
{
	size_t n = 0;

	for (const char *at = span.start; at < span.end; at++)
		out[n++] = span_lower(*at);
	return n;
}

size_t
span_drop_joiners(const char *s, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len;)
	{
		/* The last byte of U+200C and U+200D differs in one bit. */
		if (len - i >= 3 && memcmp(s + i, "\xE2\x80", 2) == 0 &&
			((unsigned char) s[i + 2] | 1) == 0x8D)
			i += 3;
		else
			out[n++] = s[i++];
	}
	return n;
}

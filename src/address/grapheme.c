/*
 * address/grapheme.c: code points, white space and grapheme clusters.
 *
 * A snippet is cut between user-perceived characters, so a flag, a joined emoji
 * or a letter with its accents stays whole. utf8proc implements the rules of
 * Unicode Standard Annex #29. White space and clusters are handled in a single
 * pass that stops at the cut, because a body can be a thousand times longer
 * than its snippet.
 */
#include <stdbool.h>
#include <string.h>

#include <utf8proc.h>

#include "address/bytes.h"

/* Stands for an invalid byte: breaks like any ordinary character. */
#define REPLACEMENT_CODEPOINT 0xFFFD

typedef struct Snippet
{
	char *out;
	size_t len;
	size_t clusters;
	size_t max_clusters;
	int32_t last;			/* the code point written last, if len > 0 */
	utf8proc_int32_t state; /* utf8proc's memory of the cluster so far */
} Snippet;

static bool is_space(int32_t codepoint);
static bool add_codepoint(Snippet *snippet,
						  int32_t codepoint,
						  const char *bytes,
						  size_t nbytes);

size_t
address_write_snippet(const char *s, size_t len, size_t max_clusters, char *out)
{
	Snippet snippet = {.out = out, .max_clusters = max_clusters};
	size_t at = address_count_space(s, len);

	while (at < len)
	{
		int32_t codepoint;
		size_t nbytes = address_decode(s + at, len - at, &codepoint);

		if (is_space(codepoint))
		{
			at += address_count_space(s + at, len - at);
			/* Trailing white space is dropped, inner becomes one space. */
			if (at == len || !add_codepoint(&snippet, ' ', " ", 1))
				break;
		}
		else
		{
			if (!add_codepoint(&snippet, codepoint, s + at, nbytes))
				break;
			at += nbytes;
		}
	}
	return snippet.len;
}

size_t
address_count_space(const char *s, size_t len)
{
	size_t at = 0;

	while (at < len)
	{
		int32_t codepoint;
		size_t nbytes = address_decode(s + at, len - at, &codepoint);

		if (!is_space(codepoint))
			break;
		at += nbytes;
	}
	return at;
}

size_t
address_trim_end(const char *s, size_t len)
{
	while (len > 0)
	{
		size_t start = len - 1;
		int32_t codepoint;

		/* White space takes at most three bytes. */
		while (start > 0 && len - start < 3 && (s[start] & 0xC0) == 0x80)
			start--;
		if (address_decode(s + start, len - start, &codepoint) != len - start ||
			!is_space(codepoint))
			break;
		len = start;
	}
	return len;
}

size_t
address_decode(const char *s, size_t len, int32_t *codepoint)
{
	utf8proc_ssize_t nbytes;

	if ((unsigned char) s[0] < 0x80)
	{
		*codepoint = s[0];
		return 1;
	}
	nbytes = utf8proc_iterate((const utf8proc_uint8_t *) s,
							  len < 4 ? (utf8proc_ssize_t) len : 4,
							  codepoint);
	if (nbytes > 0)
		return (size_t) nbytes;
	*codepoint = -1;
	return 1;
}

/*
 * Unicode's property White_Space: the separators, and the controls that move
 * to another place of the line or page.
 */
static bool
is_space(int32_t codepoint)
{
	if (codepoint < 0x80)
		return codepoint == ' ' || (codepoint >= '\t' && codepoint <= '\r');
	if (codepoint == 0x85)
		return true;
	switch (utf8proc_category(codepoint))
	{
		case UTF8PROC_CATEGORY_ZS:
		case UTF8PROC_CATEGORY_ZL:
		case UTF8PROC_CATEGORY_ZP:
			return true;
		default:
			return false;
	}
}

/* Returns false, adding nothing, if this would be one cluster too many. */
static bool
add_codepoint(Snippet *snippet,
			  int32_t codepoint,
			  const char *bytes,
			  size_t nbytes)
{
	if (codepoint < 0)
		codepoint = REPLACEMENT_CODEPOINT;
	if (snippet->len == 0 || utf8proc_grapheme_break_stateful(snippet->last,
															  codepoint,
															  &snippet->state))
	{
		if (snippet->clusters == snippet->max_clusters)
			return false;
		snippet->clusters++;
	}
	memcpy(snippet->out + snippet->len, bytes, nbytes);
	snippet->len += nbytes;
	snippet->last = codepoint;
	return true;
}

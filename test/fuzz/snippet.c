/*
 * snippet.c: cut snippets from any bytes.
 *
 * The first byte of an input is the number of clusters to keep. The clusters
 * of the result are counted again.
 */
#include <stdbool.h>
#include <string.h>

#include <utf8proc.h>

#include "../../src/address/bytes.h"
#include "fuzz.h"

static char *
cut(const char *s, size_t len, size_t max_clusters, size_t *result_len);
static bool is_utf8(const char *s, size_t len);
static size_t count_clusters(const char *s, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *) data + 1;
	size_t max_clusters;
	size_t len;
	size_t once_len;
	size_t twice_len;
	char *once;
	char *twice;

	if (size == 0)
		return 0;
	max_clusters = data[0];
	len = size - 1;
	once = cut(s, len, max_clusters, &once_len);
	twice = cut(once, once_len, max_clusters, &twice_len);
	PROMISE(count_clusters(once, once_len) <= max_clusters);
	PROMISE(!is_utf8(s, len) || is_utf8(once, once_len));
	PROMISE(address_count_space(once, once_len) == 0);
	/* The cut may be behind a space; apart from that, cutting is idempotent. */
	PROMISE(twice_len == address_trim_end(once, once_len));
	PROMISE(memcmp(once, twice, twice_len) == 0);
	free(once);
	free(twice);
	return 0;
}

static char *
cut(const char *s, size_t len, size_t max_clusters, size_t *result_len)
{
	char *out = malloc(len);

	*result_len = address_write_snippet(s, len, max_clusters, out);
	PROMISE(*result_len <= len);
	return out;
}

static bool
is_utf8(const char *s, size_t len)
{
	while (len > 0)
	{
		int32_t codepoint;
		size_t n = address_decode(s, len, &codepoint);

		if (codepoint < 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

static size_t
count_clusters(const char *s, size_t len)
{
	utf8proc_int32_t state = 0;
	int32_t last = 0;
	size_t clusters = 0;

	for (size_t at = 0; at < len;)
	{
		int32_t codepoint;

		at += address_decode(s + at, len - at, &codepoint);
		if (codepoint < 0)
			codepoint = 0xFFFD;
		if (clusters == 0 ||
			utf8proc_grapheme_break_stateful(last, codepoint, &state))
			clusters++;
		last = codepoint;
	}
	return clusters;
}

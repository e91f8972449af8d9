/*
 * address.c: normalization of any bytes, as the three kinds of address.
 *
 * address/bytes.h needs no server, so it is linked as it stands, and input and
 * output have exactly the room that it promises to need.
 */
#include <stdbool.h>
#include <string.h>

#include <utf8proc.h>

#include "../../src/address/bytes.h"
#include "fuzz.h"

typedef size_t (*Normalizer)(const char *s, size_t len, char *out);

static void check_kind(Normalizer normalize, const char *s, size_t len);
static char *
run(Normalizer normalize, const char *s, size_t len, size_t *result_len);
static bool is_utf8(const char *s, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *) data;

	if (s == NULL)
		return 0;
	check_kind(address_write_phone, s, size);
	check_kind(address_write_email, s, size);
	check_kind(address_write_opaque, s, size);
	return 0;
}

static void
check_kind(Normalizer normalize, const char *s, size_t len)
{
	size_t once_len;
	size_t twice_len;
	char *once = run(normalize, s, len, &once_len);
	char *twice = run(normalize, once, once_len, &twice_len);

	/* Nothing is left only of nothing. */
	PROMISE((once_len == 0) == (address_count_space(s, len) == len));
	PROMISE(once_len == twice_len && memcmp(once, twice, once_len) == 0);
	PROMISE(!is_utf8(s, len) || is_utf8(once, once_len));
	free(once);
	free(twice);
}

static char *
run(Normalizer normalize, const char *s, size_t len, size_t *result_len)
{
	char *out = malloc(ADDRESS_ROOM(len));

	*result_len = normalize(s, len, out);
	PROMISE(*result_len <= ADDRESS_ROOM(len));
	return out;
}

static bool
is_utf8(const char *s, size_t len)
{
	while (len > 0)
	{
		utf8proc_int32_t codepoint;
		utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *) s,
											  (utf8proc_ssize_t) len,
											  &codepoint);

		if (n <= 0)
			return false;
		s += n;
		len -= (size_t) n;
	}
	return true;
}

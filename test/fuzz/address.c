/*
 * address.c: normalize any bytes as each kind of address.
 *
 * The functions of address/bytes.h do not need a server, so they are linked as
 * they are. The output has exactly the room that they ask for.
 */
#include <stdbool.h>
#include <string.h>

#include <utf8proc.h>

#include "../../src/address/bytes.h"
#include "fuzz.h"

typedef size_t (*Normalizer)(const char *s,
							 size_t len,
							 bool keep_plus_tags,
							 char *out,
							 AddressVerdict *verdict);

static size_t write_opaque(const char *s,
						   size_t len,
						   bool keep_plus_tags,
						   char *out,
						   AddressVerdict *verdict);
static void check_kind(Normalizer normalize,
					   bool keep_plus_tags,
					   const char *s,
					   size_t len);
static char *run(Normalizer normalize,
				 bool keep_plus_tags,
				 const char *s,
				 size_t len,
				 size_t *result_len,
				 AddressVerdict *verdict);
static bool is_utf8(const char *s, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *s = (const char *) data;

	if (s == NULL)
		return 0;
	check_kind(address_write_phone, false, s, size);
	check_kind(address_write_phone, true, s, size);
	check_kind(address_write_email, false, s, size);
	check_kind(address_write_email, true, s, size);
	check_kind(write_opaque, false, s, size);
	return 0;
}

static size_t
write_opaque(const char *s,
			 size_t len,
			 bool keep_plus_tags,
			 char *out,
			 AddressVerdict *verdict)
{
	(void) keep_plus_tags;
	return address_write_opaque(s, len, out, verdict);
}

static void
check_kind(Normalizer normalize, bool keep_plus_tags, const char *s, size_t len)
{
	size_t once_len;
	size_t twice_len;
	AddressVerdict verdict;
	AddressVerdict again;
	char *once = run(normalize, keep_plus_tags, s, len, &once_len, &verdict);
	char *twice =
		run(normalize, keep_plus_tags, once, once_len, &twice_len, &again);

	/* The result is empty only for a blank input. */
	PROMISE((once_len == 0) == (address_count_space(s, len) == len));
	PROMISE(once_len == twice_len && memcmp(once, twice, once_len) == 0);
	PROMISE(verdict == again);
	PROMISE(!is_utf8(s, len) || is_utf8(once, once_len));
	free(once);
	free(twice);
}

static char *
run(Normalizer normalize,
	bool keep_plus_tags,
	const char *s,
	size_t len,
	size_t *result_len,
	AddressVerdict *verdict)
{
	char *out = malloc(ADDRESS_ROOM(len));

	*result_len = normalize(s, len, keep_plus_tags, out, verdict);
	PROMISE(*result_len <= ADDRESS_RESULT_MAX(len));
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

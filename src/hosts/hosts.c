/*
 * hosts/hosts.c: ULIDs, and the check of IP addresses.
 *
 * The rest of the store of hosts is SQL (sql/55_hosts) on top of event streams.
 *
 * A ULID is 128 bits written as 26 characters of Crockford's base 32: 48 bits
 * of milliseconds since 1970, then 80 random bits. It is stored as a uuid,
 * whose byte order is the order of the text. The ULID after a given one has the
 * current time if that is later, and is otherwise one greater as a number. A
 * carry out of the random bits goes into the time, so ids increase whatever the
 * clock does.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "server/errors.h"
#include "server/random.h"
#include "server/times.h"

#define ULID_CHARS 26
#define TIME_BYTES 6

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static bool decode(const text *ulid, pg_uuid_t *id);
static text *encode(const pg_uuid_t *id);
static void make_next(const pg_uuid_t *after, pg_uuid_t *id);

PG_FUNCTION_INFO_V1(msgstore_new_ulid);
PG_FUNCTION_INFO_V1(msgstore_ulid_after);
PG_FUNCTION_INFO_V1(msgstore_next_ulid);
PG_FUNCTION_INFO_V1(msgstore_ulid_to_uuid);
PG_FUNCTION_INFO_V1(msgstore_uuid_to_ulid);
PG_FUNCTION_INFO_V1(msgstore_is_ip_address);
PG_FUNCTION_INFO_V1(msgstore_is_time);

/* Greater than all that this session has generated. */
Datum
msgstore_new_ulid(PG_FUNCTION_ARGS)
{
	static pg_uuid_t last;

	(void) fcinfo;
	make_next(&last, &last);
	PG_RETURN_TEXT_P(encode(&last));
}

Datum
msgstore_ulid_after(PG_FUNCTION_ARGS)
{
	pg_uuid_t id;

	(void) decode(PG_GETARG_TEXT_PP(0), &id);
	make_next(&id, &id);
	PG_RETURN_TEXT_P(encode(&id));
}

Datum
msgstore_next_ulid(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	make_next(PG_GETARG_UUID_P(0), id);
	PG_RETURN_UUID_P(id);
}

Datum
msgstore_ulid_to_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	(void) decode(PG_GETARG_TEXT_PP(0), id);
	PG_RETURN_UUID_P(id);
}

Datum
msgstore_uuid_to_ulid(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(encode(PG_GETARG_UUID_P(0)));
}

Datum
msgstore_is_ip_address(PG_FUNCTION_ARGS)
{
	char *address = text_to_cstring(PG_GETARG_TEXT_PP(0));
	unsigned char bytes[16];

	PG_RETURN_BOOL(inet_pton(AF_INET, address, bytes) == 1 ||
				   inet_pton(AF_INET6, address, bytes) == 1);
}

Datum
msgstore_is_time(PG_FUNCTION_ARGS)
{
	TimestampTz result;

	PG_RETURN_BOOL(times_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &result));
}

/* Raises MS400 for an invalid ULID. */
static bool
decode(const text *ulid, pg_uuid_t *id)
{
	const char *chars = VARDATA_ANY(ulid);
	int len = VARSIZE_ANY_EXHDR(ulid);
	bool valid = len == ULID_CHARS;
	int bits = 0;
	uint32 pending = 0;
	int byte = 0;
	int i;

	for (i = 0; valid && i < ULID_CHARS; i++)
	{
		const char *place =
			memchr(alphabet, pg_toupper((unsigned char) chars[i]), 32);

		/* The first has 3 bits, because 26 characters have 2 more than 128. */
		valid = place != NULL && (i > 0 || place - alphabet < 8);
		if (!valid)
			break;
		pending = (pending << 5 | (uint32) (place - alphabet)) & 0xffff;
		bits += i == 0 ? 3 : 5;
		if (bits >= 8)
		{
			bits -= 8;
			id->data[byte++] = (unsigned char) (pending >> bits);
		}
	}
	if (!valid)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("invalid ULID: \"%s\"",
					text_to_cstring(
						cstring_to_text_with_len(chars, Min(len, 64)))),
			 errdetail(
				 "A ULID must have 26 characters of Crockford's base 32, the first at most 7.")));
	return valid;
}

static text *
encode(const pg_uuid_t *id)
{
	text *ulid = palloc(VARHDRSZ + ULID_CHARS);
	char *chars = VARDATA(ulid);
	uint32 pending = 0;
	int bits = 2; /* two zero bits precede the first byte */
	int i;

	SET_VARSIZE(ulid, VARHDRSZ + ULID_CHARS);
	for (i = 0; i < UUID_LEN; i++)
	{
		pending = (pending << 8 | id->data[i]) & 0xffff;
		bits += 8;
		while (bits >= 5)
		{
			bits -= 5;
			*chars++ = alphabet[(pending >> bits) & 31];
		}
	}
	return ulid;
}

static void
make_next(const pg_uuid_t *after, pg_uuid_t *id)
{
	uint64 ms =
		(uint64) (GetCurrentTimestamp() +
				  (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
		1000;
	pg_uuid_t now;
	int i;

	for (i = 0; i < TIME_BYTES; i++)
		now.data[i] = (unsigned char) (ms >> (40 - 8 * i));
	if (memcmp(now.data, after->data, TIME_BYTES) > 0)
	{
		random_take(now.data + TIME_BYTES, UUID_LEN - TIME_BYTES);
		*id = now;
		return;
	}
	*id = *after;
	for (i = UUID_LEN - 1; i >= 0 && ++id->data[i] == 0; i--)
		;
	if (i < 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("no ULID is greater than the given one")));
}

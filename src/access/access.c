/*
 * access/access.c: random bytes and comparison for API keys.
 *
 * The room owns API keys, tenant limits, the access levels of roles and the
 * row security of all tables. All else of it is SQL, in sql/85_access, and it
 * needs tenancy. These two functions are here because SQL's random numbers
 * can be predicted from earlier ones, and because its comparison stops at the
 * first difference, so that the time it takes tells how much of a guess was
 * right.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "server/errors.h"

/* The most bytes for one call. */
#define MAX_RANDOM_BYTES 1024

PG_FUNCTION_INFO_V1(msgstore_random_hex);
PG_FUNCTION_INFO_V1(msgstore_same_bytes);

Datum
msgstore_random_hex(PG_FUNCTION_ARGS)
{
	int32 count = PG_GETARG_INT32(0);
	uint8 bytes[MAX_RANDOM_BYTES];
	text *hex;

	if (count < 0 || count > MAX_RANDOM_BYTES)
		elog(ERROR, "cannot generate %d random bytes", count);
	if (!pg_strong_random(bytes, count))
		ereport(ERROR,
				(errcode(ERRCODE_MS_UNAVAILABLE),
				 errmsg("could not generate random bytes"),
				 errdetail("The server's random number generator failed.")));
	hex = palloc(VARHDRSZ + count * 2);
	SET_VARSIZE(hex, VARHDRSZ + count * 2);
	hex_encode((const char *) bytes, count, VARDATA(hex));
	explicit_bzero(bytes, sizeof(bytes));
	PG_RETURN_TEXT_P(hex);
}

/* Reads all bytes, wherever the first difference is. */
Datum
msgstore_same_bytes(PG_FUNCTION_ARGS)
{
	bytea *a = PG_GETARG_BYTEA_PP(0);
	bytea *b = PG_GETARG_BYTEA_PP(1);
	const volatile uint8 *a_bytes = (const uint8 *) VARDATA_ANY(a);
	const volatile uint8 *b_bytes = (const uint8 *) VARDATA_ANY(b);
	size_t length = VARSIZE_ANY_EXHDR(a);
	uint8 difference = 0;
	size_t i;

	if (length != VARSIZE_ANY_EXHDR(b))
		PG_RETURN_BOOL(false);
	for (i = 0; i < length; i++)
		difference |= a_bytes[i] ^ b_bytes[i];
	PG_RETURN_BOOL(difference == 0);
}

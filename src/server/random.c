/*
 * server/random.c: random bytes for ids.
 *
 * A call of the generator costs as much as 20 index comparisons, for 8 bytes or
 * for 256, so the session keeps some for its next ids. The postmaster makes no
 * ids, so no two sessions inherit the same bytes.
 */
#include "postgres.h"

#include "server/random.h"

void
random_take(unsigned char *bytes, int n)
{
	static unsigned char drawn[256];
	static int left = 0;

	if (left < n)
	{
		left = 0;
		if (!pg_strong_random(drawn, sizeof(drawn)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		left = sizeof(drawn);
	}
	left -= n;
	memcpy(bytes, drawn + left, n);
}

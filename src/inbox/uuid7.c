/*
 * inbox/uuid7.c: time-ordered ids, UUID version 7 of RFC 9562.
 *
 * The first 60 free bits are a clock with a resolution of a quarter of a
 * microsecond (method 3 of section 6.2: rand_a holds the fraction of the
 * millisecond). So index insertions stay local, and the ids of a backend sort
 * in the order in which they were generated, even within a microsecond and
 * when the clock steps back. The last 62 bits are random.
 *
 * An event's created_at is the time in its id, so that rows can be found by
 * time in the index of the ids.
 */
#include "postgres.h"

#include <time.h>

#include "fmgr.h"
#include "utils/timestamp.h"

#include "inbox/uuid7.h"
#include "server/random.h"

/* The resolution of the 12 bits of rand_a. */
#define TICKS_PER_MS 4096

/*
 * The clock of the last id. Each backend has its own: ids of different
 * backends differ in their random bits.
 */
static uint64 last_tick = 0;

PG_FUNCTION_INFO_V1(msgstore_uuid7);

Datum
msgstore_uuid7(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_UUID_P(inbox_new_uuid7());
}

pg_uuid_t *
inbox_new_uuid7(void)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));

	inbox_make_uuid7(uuid);
	return uuid;
}

void
inbox_make_uuid7(pg_uuid_t *uuid)
{
	struct timespec now;
	uint64 tick;
	uint64 ms;
	int i;

	clock_gettime(CLOCK_REALTIME, &now);
	ms = (uint64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
	tick = ms * TICKS_PER_MS +
		   (uint64) (now.tv_nsec % 1000000) * TICKS_PER_MS / 1000000;
	if (tick <= last_tick)
		tick = last_tick + 1;
	last_tick = tick;

	random_take(uuid->data + 8, 8);
	ms = tick / TICKS_PER_MS;
	for (i = 0; i < 6; i++)
		uuid->data[i] = (unsigned char) (ms >> (40 - 8 * i));
	tick %= TICKS_PER_MS;
	uuid->data[6] = 0x70 | (unsigned char) (tick >> 8);
	uuid->data[7] = (unsigned char) tick;
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}

TimestampTz
inbox_time_of_uuid7(const pg_uuid_t *uuid)
{
	uint64 ms = 0;
	uint64 ticks = (uint64) (uuid->data[6] & 0x0f) << 8 | uuid->data[7];
	int i;

	for (i = 0; i < 6; i++)
		ms = ms << 8 | uuid->data[i];
	return (TimestampTz) (ms * 1000 + ticks * 1000 / TICKS_PER_MS) -
		   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/*
 * wake/lanes.c: lanes, the partitions of the queue that keep order.
 *
 * Each conversation belongs to a lane, by a hash of its tenant and key. A
 * worker or session that processes events of a lane holds the lane's lock until
 * the end of its transaction. So the events of a conversation are never
 * processed concurrently, and are processed in the order of their ids.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "port/pg_bitutils.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "address/address.h"
#include "channels/channels.h"
#include "server/locks.h"
#include "wake/lanes.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * Lanes are advisory locks, so that the server detects deadlocks and prepared
 * transactions keep them. The use of a lane's conversations is a lock of its
 * own: see conversations/find.c.
 */
static int remove_lane(uint64 *lanes, LockKind kind, LOCKTAG *tag);

PG_FUNCTION_INFO_V1(msgstore_lane);

Datum
msgstore_lane(PG_FUNCTION_ARGS)
{
	char *channel = text_to_cstring(PG_GETARG_TEXT_PP(1));

	PG_RETURN_INT16(lanes_of_event(PG_GETARG_TEXT_PP(0),
								   channel,
								   PG_GETARG_TEXT_PP(2),
								   PG_GETARG_TEXT_PP(3)));
}

/* Any lane will do for an event of a missing channel: it is a dead letter. */
int16
lanes_of_event(const text *tenant_id,
			   const char *name,
			   const text *from,
			   const text *to)
{
	const Channel *channel = channels_find(name, strlen(name));

	if (channel == NULL)
		return 0;
	return lanes_of_conversation(tenant_id,
								 address_join_key(channel->thread, from, to));
}

int16
lanes_of_conversation(const text *tenant_id, const text *conversation_key)
{
	return (int16) (lanes_hash(tenant_id, conversation_key) % LANES);
}

uint32
lanes_hash(const text *tenant_id, const text *conversation_key)
{
	uint32 hash = hash_bytes((const unsigned char *) VARDATA_ANY(tenant_id),
							 VARSIZE_ANY_EXHDR(tenant_id));

	return hash_combine(
		hash,
		hash_bytes((const unsigned char *) VARDATA_ANY(conversation_key),
				   VARSIZE_ANY_EXHDR(conversation_key)));
}

uint64
lanes_take(uint64 lanes)
{
	uint64 taken = 0;
	LOCKTAG tag;
	int lane;

	while ((lane = remove_lane(&lanes, LOCK_LANE, &tag)) >= 0)
	{
		if (LockAcquire(&tag, ExclusiveLock, false, true) !=
			LOCKACQUIRE_NOT_AVAIL)
			taken |= UINT64CONST(1) << lane;
	}
	return taken;
}

/* In the order of their numbers, so that two waiters do not deadlock. */
void
lanes_wait_for(uint64 lanes)
{
	LOCKTAG tag;

	while (remove_lane(&lanes, LOCK_LANE, &tag) >= 0)
		(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

void
lanes_give(uint64 lanes)
{
	LOCKTAG tag;

	while (remove_lane(&lanes, LOCK_LANE, &tag) >= 0)
		(void) LockRelease(&tag, ExclusiveLock, false);
}

void
lanes_use(uint64 lanes)
{
	LOCKTAG tag;

	while (remove_lane(&lanes, LOCK_LANE_USE, &tag) >= 0)
		(void) LockAcquire(&tag, ShareLock, false, false);
}

/* Nobody has to wait behind a session that waits here. */
void
lanes_wait_for_use(uint64 lanes)
{
	List *tags = NIL;
	LOCKTAG tag;

	while (remove_lane(&lanes, LOCK_LANE_USE, &tag) >= 0)
	{
		LOCKTAG *copy = palloc(sizeof(LOCKTAG));

		*copy = tag;
		tags = lappend(tags, copy);
	}
	WaitForLockersMultiple(tags, ExclusiveLock, false);
}

/* Returns the lowest lane, with the tag of its lock; -1 if there is none. */
static int
remove_lane(uint64 *lanes, LockKind kind, LOCKTAG *tag)
{
	int lane;

	if (*lanes == 0)
		return -1;
	lane = pg_rightmost_one_pos64(*lanes);
	*lanes &= *lanes - 1;
	*tag = locks_tag(kind, lane);
	return lane;
}

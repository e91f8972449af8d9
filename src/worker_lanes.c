/*
 * worker_lanes.c: which events must not be applied side by side.
 *
 * Each conversation has a lane, by a hash of its key, and an event waits in
 * its conversation's lane. Whoever applies events of a lane holds the lane's
 * lock until the end of the transaction: the events of one conversation are
 * applied one after the other, in the order of their ids, whoever does it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "address.h"
#include "channels.h"
#include "worker_lanes.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

PG_FUNCTION_INFO_V1(msgstore_lane);

/* An event of a channel that is not there goes to the dead letters from any. */
Datum
msgstore_lane(PG_FUNCTION_ARGS)
{
	text *tenant_id = PG_GETARG_TEXT_PP(0);
	text *name = PG_GETARG_TEXT_PP(1);
	const Channel *channel =
		channels_find(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
	int lane = 0;

	if (channel != NULL)
		lane = worker_lane(tenant_id,
						   address_join_key(channel->thread,
											PG_GETARG_TEXT_PP(2),
											PG_GETARG_TEXT_PP(3)));
	PG_RETURN_INT16((int16) lane);
}

int
worker_lane(const text *tenant_id, const text *conversation_key)
{
	uint32 hash = hash_bytes((const unsigned char *) VARDATA_ANY(tenant_id),
							 VARSIZE_ANY_EXHDR(tenant_id));

	hash = hash_combine(
		hash,
		hash_bytes((const unsigned char *) VARDATA_ANY(conversation_key),
				   VARSIZE_ANY_EXHDR(conversation_key)));
	return (int) (hash % WORKER_LANES);
}

/*
 * wake/lanes.h: lanes, the partitions of the queue that keep order.
 */
#ifndef WAKE_LANES_H
#define WAKE_LANES_H

/* A set of lanes is a bit mask. */
#define LANES 64
#define LANES_ALL PG_UINT64_MAX

extern int16 lanes_of_conversation(const text *tenant_id,
								   const text *conversation_key);

/* The hash of a conversation; its lane is the remainder by LANES. */
extern uint32 lanes_hash(const text *tenant_id, const text *conversation_key);

/* The lane of an event, given its channel and normalized addresses. */
extern int16 lanes_of_event(const text *tenant_id,
							const char *channel,
							const text *from,
							const text *to);

/*
 * Locks those lanes that nobody else holds, until the end of the transaction,
 * and returns them. Does not wait.
 */
extern uint64 lanes_take(uint64 lanes);

/* Locks all of them, waiting for those that others hold. */
extern void lanes_wait_for(uint64 lanes);

/* Releases lanes that are not needed after all. */
extern void lanes_give(uint64 lanes);

/*
 * Announces that the transaction uses conversations of these lanes, without
 * waiting; and waits for the transactions that do now.
 */
extern void lanes_use(uint64 lanes);
extern void lanes_wait_for_use(uint64 lanes);

#endif /* WAKE_LANES_H */

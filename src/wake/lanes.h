/*
 * wake/lanes.h: lanes, in which the events of a conversation keep order.
 */
#ifndef WAKE_LANES_H
#define WAKE_LANES_H

/* A set of lanes is the bits of one word. */
#define LANES 64
#define LANES_ALL PG_UINT64_MAX

extern int16 lanes_of_conversation(const text *tenant_id, const text *conversation_key);

/* The lane of an event of a channel, between two normalized addresses. */
extern int16 lanes_of_event(const text *tenant_id,
							const char *channel,
							const text *from,
							const text *to);

/*
 * Takes those of the lanes that nobody else holds, until the end of the
 * transaction, and returns which; does not wait.
 */
extern uint64 lanes_take(uint64 lanes);

/* Takes all of them, and waits for those that others hold. */
extern void lanes_wait_for(uint64 lanes);

/* Lets go of lanes that were taken and are not needed after all. */
extern void lanes_give(uint64 lanes);

#endif /* WAKE_LANES_H */

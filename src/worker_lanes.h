/*
 * worker_lanes.h: lanes, in which the events of a conversation keep order.
 */
#ifndef WORKER_LANES_H
#define WORKER_LANES_H

/* A set of lanes is the bits of one word. */
#define WORKER_LANES 64
#define WORKER_ALL_LANES PG_UINT64_MAX

extern int16 worker_lane(const text *tenant_id, const text *conversation_key);

/* The lane of an event of a channel, between two normalized addresses. */
extern int16 worker_lane_of(const text *tenant_id,
							const char *channel,
							const text *from,
							const text *to);

/*
 * Takes those of the lanes that nobody else holds, until the end of the
 * transaction, and returns which; does not wait.
 */
extern uint64 worker_take_lanes(uint64 lanes);

/* Takes all of them, and waits for those that others hold. */
extern void worker_wait_for_lanes(uint64 lanes);

/* Lets go of lanes that were taken and are not needed after all. */
extern void worker_give_lanes(uint64 lanes);

#endif /* WORKER_LANES_H */

/*
 * worker_lanes.h: lanes, in which the events of a conversation keep order.
 */
#ifndef WORKER_LANES_H
#define WORKER_LANES_H

/* A set of lanes is the bits of one word. */
#define WORKER_LANES 64
#define WORKER_ALL_LANES PG_UINT64_MAX

extern int worker_lane(const text *tenant_id, const text *conversation_key);

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

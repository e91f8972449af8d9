/*
 * worker_lanes.h: lanes, in which the events of a conversation keep order.
 */
#ifndef WORKER_LANES_H
#define WORKER_LANES_H

/* A set of lanes is the bits of one word. */
#define WORKER_LANES 64

extern int worker_lane(const text *tenant_id, const text *conversation_key);

#endif /* WORKER_LANES_H */

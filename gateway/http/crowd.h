/*
 * crowd.h: hangs up on who only takes a place, when there are too many.
 */
#ifndef CROWD_H
#define CROWD_H

#include <stdint.h>

typedef struct Crowd Crowd;

/* For files below that number; NULL: out of memory. */
Crowd *crowd_create(long files);
void crowd_free(Crowd *crowd);

/* Peers' ports, one bit each: whose connections are to be kept. */
typedef struct CrowdPorts
{
	uint8_t bits[65536 / 8];
} CrowdPorts;

static inline void
crowd_keep(CrowdPorts *ports, unsigned port)
{
	ports->bits[port / 8] |= (uint8_t) (1u << port % 8);
}

/*
 * Ends the connections to this port that are not to be kept and that were
 * there already a moment before. Called again and again while it is crowded.
 */
void crowd_thin(Crowd *crowd, unsigned port, const CrowdPorts *kept);

#endif /* CROWD_H */

/*
 * crowd.h: closes connections without a request when there are too many.
 */
#ifndef CROWD_H
#define CROWD_H

#include <stdint.h>

typedef struct Crowd Crowd;

/* For file numbers below "files". Returns NULL if out of memory. */
Crowd *crowd_create(long files);
void crowd_free(Crowd *crowd);

/* Ports of peers whose connections must be kept, one bit each. */
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
 * Closes connections to this port that are not in "kept" and that have been
 * seen for longer than a grace period. Call it repeatedly while the limit is
 * reached.
 */
void crowd_thin(Crowd *crowd, unsigned port, const CrowdPorts *kept);

#endif /* CROWD_H */

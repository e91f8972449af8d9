/*
 * feed.h: tells listeners what changes in the database.
 */
#ifndef FEED_H
#define FEED_H

#include <stdbool.h>

#include "config/config.h"
#include "db/cluster.h"
#include "guard/keys.h"
#include "live/listener.h"
#include "log.h"
#include "metrics.h"

typedef struct Feed Feed;

/*
 * Starts its thread. "keys" may be NULL, and a feed that is not of a slot has
 * no cluster. Returns NULL if out of memory.
 */
Feed *feed_create(const Config *config,
				  Log *log,
				  Metrics *metrics,
				  Keys *keys,
				  Cluster *cluster,
				  const ClusterSlot *slot);

/* True if there are HTTP_MAX_LISTENERS, or the gateway is stopping. */
bool feed_is_full(Feed *feed);

/* Is the database a router? Known once a listener has come. */
bool feed_is_routed(Feed *feed);

/* Takes the listener over; returns false if the feed is full. */
bool feed_add(Feed *feed, Listener *listener);

/* Ends all listeners, and the thread. May be called again. */
void feed_stop(Feed *feed);

/* Stops it first. */
void feed_free(Feed *feed);

#endif /* FEED_H */

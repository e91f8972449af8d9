/*
 * feeds.h: the feed of the database, and those of the slots of a cluster.
 */
#ifndef FEEDS_H
#define FEEDS_H

#include "db/cluster.h"
#include "live/feed.h"

typedef struct Feeds Feeds;

/* "cluster" and "keys" may be NULL. Returns NULL if out of memory or threads.
 */
Feeds *feeds_create(const Config *config,
					Log *log,
					Metrics *metrics,
					Keys *keys,
					Cluster *cluster);

/*
 * The feed that tells a tenant's changes; it lives as long as the feeds. *slot
 * is then its slot, or NULL outside of a cluster. Returns NULL if out of memory
 * or threads.
 */
Feed *feeds_find(Feeds *feeds, const char *tenant, const ClusterSlot **slot);

/* As feed_stop and feed_free, for all. The cluster must still be there. */
void feeds_stop(Feeds *feeds);
void feeds_free(Feeds *feeds);

#endif /* FEEDS_H */

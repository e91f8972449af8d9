/*
 * feeds.c: the feed of the database, and those of the slots of a cluster.
 *
 * Each slot tells its own changes, in its own order. The feed of a slot is
 * created for the first client that follows a tenant of the slot.
 */
#include <pthread.h>
#include <stdlib.h>

#include "live/feeds.h"

typedef struct SlotFeed
{
	const ClusterSlot *slot;
	Feed *feed;
	struct SlotFeed *next;
} SlotFeed;

struct Feeds
{
	Log *log;
	Metrics *metrics;
	Keys *keys;
	Cluster *cluster;
	Feed *own;
	pthread_mutex_t mutex; /* guards the members below */
	SlotFeed *first;
	bool stopped;
};

static Feed *find_or_create(Feeds *feeds, const ClusterSlot *slot);
static SlotFeed *create(Feeds *feeds, const ClusterSlot *slot);

Feeds *
feeds_create(const Config *config,
			 Log *log,
			 Metrics *metrics,
			 Keys *keys,
			 Cluster *cluster)
{
	Feeds *feeds = calloc(1, sizeof(*feeds));

	if (feeds == NULL)
		return NULL;
	feeds->log = log;
	feeds->metrics = metrics;
	feeds->keys = keys;
	feeds->cluster = cluster;
	feeds->own = feed_create(config, log, metrics, keys, NULL, NULL);
	pthread_mutex_init(&feeds->mutex, NULL);
	if (feeds->own != NULL)
		return feeds;
	pthread_mutex_destroy(&feeds->mutex);
	free(feeds);
	return NULL;
}

Feed *
feeds_find(Feeds *feeds, const char *tenant, const ClusterSlot **slot)
{
	*slot = feeds->cluster != NULL && tenant[0] != '\0'
				? cluster_find(feeds->cluster, tenant)
				: NULL;
	return *slot != NULL ? find_or_create(feeds, *slot) : feeds->own;
}

void
feeds_stop(Feeds *feeds)
{
	pthread_mutex_lock(&feeds->mutex);
	feeds->stopped = true;
	pthread_mutex_unlock(&feeds->mutex);
	feed_stop(feeds->own);
	for (SlotFeed *each = feeds->first; each != NULL; each = each->next)
		feed_stop(each->feed);
}

void
feeds_free(Feeds *feeds)
{
	feeds_stop(feeds);
	while (feeds->first != NULL)
	{
		SlotFeed *first = feeds->first;

		feeds->first = first->next;
		feed_free(first->feed);
		free(first);
	}
	feed_free(feeds->own);
	pthread_mutex_destroy(&feeds->mutex);
	free(feeds);
}

static Feed *
find_or_create(Feeds *feeds, const ClusterSlot *slot)
{
	SlotFeed *found;

	pthread_mutex_lock(&feeds->mutex);
	found = feeds->first;
	while (found != NULL && found->slot != slot)
		found = found->next;
	if (found == NULL && !feeds->stopped)
		found = create(feeds, slot);
	pthread_mutex_unlock(&feeds->mutex);
	return found != NULL ? found->feed : NULL;
}

static SlotFeed *
create(Feeds *feeds, const ClusterSlot *slot)
{
	SlotFeed *fresh = calloc(1, sizeof(*fresh));

	if (fresh == NULL)
		return NULL;
	fresh->slot = slot;
	fresh->feed = feed_create(slot->config,
							  feeds->log,
							  feeds->metrics,
							  feeds->keys,
							  feeds->cluster,
							  slot);
	if (fresh->feed == NULL)
	{
		free(fresh);
		return NULL;
	}
	fresh->next = feeds->first;
	feeds->first = fresh;
	return fresh;
}

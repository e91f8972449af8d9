/*
 * cluster.h: the slots of a cluster, called without their router.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include <stdbool.h>

#include "config/config.h"
#include "db/batch.h"
#include "db/pool.h"
#include "log.h"
#include "metrics.h"

typedef struct Cluster Cluster;

/* Lives as long as the cluster. */
typedef struct ClusterSlot
{
	int number;
	const Config *config; /* to connect to it */
	Pool *pool;
	Batch *batch; /* sends to the router what the slot does not take */
} ClusterSlot;

/*
 * Reads the router's map in a thread, and again from time to time. Until it has
 * one, and if the database is not a router, there are no slots. Returns NULL if
 * out of memory or threads.
 */
Cluster *cluster_create(const Config *config,
						Log *log,
						Metrics *metrics,
						Pool *router,
						Batch *through_router);

/* The slot of a tenant; NULL: call the router. */
const ClusterSlot *cluster_find(Cluster *cluster, const char *tenant);

/* A slot was not what the map says: read the map again soon. */
void cluster_doubt(Cluster *cluster);

/* As pool_cancel, for the pools of all slots. */
void cluster_cancel(Cluster *cluster);

/* Ends the threads, batches and pools. The router's must still be there. */
void cluster_stop(Cluster *cluster);

#endif /* CLUSTER_H */

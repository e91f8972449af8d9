/*
 * cluster.h: the slots of a cluster, as the router's map says.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

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

/* The slot of a tenant, to be called directly; NULL: call the router. */
const ClusterSlot *cluster_find(Cluster *cluster, const char *tenant);

/* Where events of a tenant wait for their slot; NULL: it is not known. */
Batch *cluster_batch(Cluster *cluster, const char *tenant);

/* A call of a slot through the router. */
typedef struct ClusterVisit
{
	int slot; /* -1: not known */
	bool probe;
	int64_t since_us;
} ClusterVisit;

/*
 * May a tenant's slot be called? A call that got no answer in time closes the
 * slot for two seconds, so that it does not take all connections of the pool;
 * then one call at a time is allowed, until one is answered. Each allowed call
 * must report its outcome.
 */
bool cluster_enter(Cluster *cluster, const char *tenant, ClusterVisit *visit);
void cluster_leave(Cluster *cluster,
				   const ClusterVisit *visit,
				   bool connection_lost);

/* A slot was not what the map says: read the map again soon. */
void cluster_doubt(Cluster *cluster);

/* As pool_cancel, for the pools of all slots. */
void cluster_cancel(Cluster *cluster);

/* Ends the threads, batches and pools. The router's must still be there. */
void cluster_stop(Cluster *cluster);

#endif /* CLUSTER_H */

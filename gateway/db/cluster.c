/*
 * cluster.c: the slots of a cluster, called without their router.
 *
 * A call through the router costs its CPU time about twice. So calls for one
 * tenant go to the tenant's slot, with a copy of the router's map. The copy can
 * be old, and the slot itself knows better: it refuses a tenant that it does
 * not have. What a slot refuses for that reason, or does not take because it
 * cannot be reached, is sent to the router, which answers as it would have. No
 * request waits for the map: one thread reads it again, at most once a second.
 *
 * A slot that moves to another server gets a new pool. The old one is kept,
 * because requests may be using it; its connections end when they are idle.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "db/cluster.h"
#include "db/map.h"

#define READ_US (10 * SECOND_US)
#define READ_AGAIN_US SECOND_US

/* A slot at a place. */
typedef struct Target
{
	ClusterSlot slot; /* first: what is lent */
	char *conninfo;
	Config config;
	struct Target *next;
} Target;

struct Cluster
{
	const Config *config;
	Log *log;
	Metrics *metrics;
	Pool *router;
	Batch *through_router;
	pthread_t keeper;
	Target *targets; /* all that there have been; of the keeper */
	bool failed;	 /* to read the map, the last time; of the keeper */

	pthread_rwlock_t lock; /* guards the members below */
	SlotMap *map;		   /* NULL: not known yet */
	Target **current;	   /* of each slot; NULL: call the router */

	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t wake;
	bool doubted;
	bool stopping;
};

static void *keep_map(void *argument);
static bool rest(Cluster *cluster, int64_t since);
static void read_map(Cluster *cluster);
static void use_map(Cluster *cluster, SlotMap *map);
static Target *find_target(Cluster *cluster, const SlotMap *map, int slot);
static Target *create_target(Cluster *cluster, int slot, char *conninfo);
static void doubt(void *cluster);
static void report(Cluster *cluster, const char *problem);

Cluster *
cluster_create(const Config *config,
			   Log *log,
			   Metrics *metrics,
			   Pool *router,
			   Batch *through_router)
{
	Cluster *cluster = calloc(1, sizeof(*cluster));
	pthread_condattr_t attributes;

	if (cluster == NULL)
		return NULL;
	cluster->config = config;
	cluster->log = log;
	cluster->metrics = metrics;
	cluster->router = router;
	cluster->through_router = through_router;
	pthread_rwlock_init(&cluster->lock, NULL);
	pthread_mutex_init(&cluster->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&cluster->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&cluster->keeper, NULL, keep_map, cluster) == 0)
		return cluster;
	free(cluster);
	return NULL;
}

const ClusterSlot *
cluster_find(Cluster *cluster, const char *tenant)
{
	const Target *target = NULL;

	pthread_rwlock_rdlock(&cluster->lock);
	if (cluster->map != NULL &&
		(tenant[0] != '\0' || !map_is_scoped(cluster->map)))
		target = cluster->current[map_tenant_slot(cluster->map, tenant)];
	pthread_rwlock_unlock(&cluster->lock);
	return target != NULL ? &target->slot : NULL;
}

void
cluster_doubt(Cluster *cluster)
{
	pthread_mutex_lock(&cluster->mutex);
	cluster->doubted = true;
	pthread_cond_signal(&cluster->wake);
	pthread_mutex_unlock(&cluster->mutex);
}

/* No target is added once the keeper has ended. */
void
cluster_cancel(Cluster *cluster)
{
	bool stopping;

	pthread_mutex_lock(&cluster->mutex);
	stopping = cluster->stopping;
	cluster->stopping = true;
	pthread_cond_signal(&cluster->wake);
	pthread_mutex_unlock(&cluster->mutex);
	if (!stopping)
		pthread_join(cluster->keeper, NULL);
	for (Target *each = cluster->targets; each != NULL; each = each->next)
		pool_cancel(each->slot.pool);
}

void
cluster_stop(Cluster *cluster)
{
	cluster_cancel(cluster);
	while (cluster->targets != NULL)
	{
		Target *target = cluster->targets;

		cluster->targets = target->next;
		batch_stop(target->slot.batch);
		pool_stop(target->slot.pool);
		free(target->conninfo);
		free(target);
	}
	map_free(cluster->map);
	free(cluster->current);
	pthread_rwlock_destroy(&cluster->lock);
	pthread_cond_destroy(&cluster->wake);
	pthread_mutex_destroy(&cluster->mutex);
	free(cluster);
}

static void *
keep_map(void *argument)
{
	Cluster *cluster = argument;
	int64_t since;

	do
	{
		since = clock_us();
		read_map(cluster);
	} while (rest(cluster, since));
	return NULL;
}

/* Until the map is to be read again, or false if we stop. */
static bool
rest(Cluster *cluster, int64_t since)
{
	bool going;

	pthread_mutex_lock(&cluster->mutex);
	for (;;)
	{
		bool soon = cluster->doubted || cluster->map == NULL;
		int64_t end = since + (soon ? READ_AGAIN_US : READ_US);
		struct timespec until = clock_timespec(end);

		if (cluster->stopping || clock_us() >= end)
			break;
		pthread_cond_timedwait(&cluster->wake, &cluster->mutex, &until);
	}
	cluster->doubted = false;
	going = !cluster->stopping;
	pthread_mutex_unlock(&cluster->mutex);
	return going;
}

static void
read_map(Cluster *cluster)
{
	const char *why;
	PoolConnection *connection =
		pool_borrow(cluster->router, POOL_SERVICE, 0, &why);
	QueryOutcome outcome;
	SlotMap *map = NULL;

	if (connection == NULL)
	{
		report(cluster, why);
		return;
	}
	if (!pool_is_router(connection))
	{
		pool_return(cluster->router, connection);
		report(cluster, "the database is not a router");
		return;
	}
	outcome = pool_query(connection, "", map_sql, 0, NULL);
	pool_return(cluster->router, connection);
	if (strcmp(outcome.sqlstate, "00000") == 0 &&
		PQntuples(outcome.result) == 1)
		map = map_parse(PQgetvalue(outcome.result, 0, 0));
	if (map != NULL)
		use_map(cluster, map);
	else
		report(cluster,
			   outcome.result != NULL && outcome.sqlstate[0] != '0'
				   ? PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY)
				   : "the router's answer is not a map");
	PQclear(outcome.result);
}

/* The map belongs to the cluster from here on. */
static void
use_map(Cluster *cluster, SlotMap *map)
{
	size_t count = (size_t) map_slots(map);
	Target **current = calloc(count, sizeof(*current));
	SlotMap *old_map = map;
	Target **old = current;

	for (size_t i = 0; i < count && current != NULL; i++)
		current[i] = find_target(cluster, map, (int) i);
	if (current != NULL)
	{
		pthread_rwlock_wrlock(&cluster->lock);
		old_map = cluster->map;
		old = cluster->current;
		cluster->map = map;
		cluster->current = current;
		pthread_rwlock_unlock(&cluster->lock);
		if (old_map == NULL || cluster->failed)
			log_event(cluster->log,
					  LOG_INFO,
					  "read the map of %zu slots, to call them directly",
					  count);
		cluster->failed = false;
	}
	map_free(old_map);
	free(old);
}

static Target *
find_target(Cluster *cluster, const SlotMap *map, int slot)
{
	char *conninfo = map_join_connection(cluster->config->conninfo,
										 map_connection(map, slot));
	Target *target = cluster->targets;

	if (conninfo == NULL)
		return NULL;
	while (target != NULL && (target->slot.number != slot ||
							  strcmp(target->conninfo, conninfo) != 0))
		target = target->next;
	if (target == NULL)
		return create_target(cluster, slot, conninfo);
	free(conninfo);
	return target;
}

/* Its connections are opened when they are needed. Frees conninfo if it fails.
 */
static Target *
create_target(Cluster *cluster, int slot, char *conninfo)
{
	Target *target = calloc(1, sizeof(*target));

	if (target == NULL)
	{
		free(conninfo);
		return NULL;
	}
	target->conninfo = conninfo;
	target->config = *cluster->config;
	target->config.conninfo = conninfo;
	target->config.slot = slot;
	target->config.pool_min = 0;
	target->slot.number = slot;
	target->slot.config = &target->config;
	target->slot.pool = pool_create(&target->config, cluster->log);
	if (target->slot.pool != NULL)
		target->slot.batch = batch_create_for_slot(
			&target->config,
			cluster->log,
			cluster->metrics,
			target->slot.pool,
			&(SlotBatch){slot, cluster->through_router, doubt, cluster});
	if (target->slot.batch == NULL)
	{
		if (target->slot.pool != NULL)
			pool_stop(target->slot.pool);
		free(conninfo);
		free(target);
		return NULL;
	}
	target->next = cluster->targets;
	cluster->targets = target;
	return target;
}

static void
doubt(void *cluster)
{
	cluster_doubt(cluster);
}

/* Once, until the map is read again. The old one stays in use. */
static void
report(Cluster *cluster, const char *problem)
{
	if (!cluster->failed)
		log_event(cluster->log,
				  LOG_WARN,
				  "could not read the map of slots: %s",
				  problem != NULL ? problem : "connection lost");
	cluster->failed = true;
}

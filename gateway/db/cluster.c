/*
 * cluster.c: the slots of a cluster, as the router's map says.
 *
 * A slot that hangs must not stop the others. So the events of each slot wait
 * in a batch of their own, and after a call that got no answer in time, calls
 * for that slot are refused while one of them finds out whether it answers
 * again. For that a copy of the map may be wrong: the router decides.
 *
 * Slots can be called directly, too. A call through the router costs its CPU
 * time about twice. So calls for one tenant go to the tenant's slot, with a
 * copy of the router's map. The copy can be old, and the slot itself knows
 * better: it refuses a tenant that it does not have. What a slot refuses for
 * that reason, or does not take because it cannot be reached, is sent to the
 * router, which answers as it would have. No request waits for the map: one
 * thread reads it again, at most once a second.
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

/* How long calls for a slot are refused after one that got no answer. */
#define SILENCE_US (2 * SECOND_US)

/* A slot at a place. */
typedef struct Target
{
	ClusterSlot slot; /* first: what is lent */
	char *conninfo;
	Config config;
	struct Target *next;
} Target;

/* Of a slot that does not answer. */
typedef struct Silence
{
	int64_t until_us; /* no calls until then; 0: it answers */
	bool probing;	  /* a call is finding out whether it answers again */
} Silence;

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
	Silence *silences;	   /* of each slot; the number of slots is fixed */
	int slots;			   /* 0: not known yet */
	pthread_cond_t wake;
	bool doubted;
	bool stopping;
};

static const Target *look_up(Cluster *cluster, const char *tenant);
static void *keep_map(void *argument);
static bool rest(Cluster *cluster, int64_t since);
static void read_map(Cluster *cluster);
static void use_map(Cluster *cluster, SlotMap *map);
static bool count_slots(Cluster *cluster, int slots);
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

	if (cluster == NULL)
		return NULL;
	cluster->config = config;
	cluster->log = log;
	cluster->metrics = metrics;
	cluster->router = router;
	cluster->through_router = through_router;
	pthread_rwlock_init(&cluster->lock, NULL);
	pthread_mutex_init(&cluster->mutex, NULL);
	clock_init_condition(&cluster->wake);
	if (pthread_create(&cluster->keeper, NULL, keep_map, cluster) == 0)
		return cluster;
	free(cluster);
	return NULL;
}

const ClusterSlot *
cluster_find(Cluster *cluster, const char *tenant)
{
	const Target *target =
		cluster->config->direct_slots ? look_up(cluster, tenant) : NULL;

	return target != NULL ? &target->slot : NULL;
}

Batch *
cluster_batch(Cluster *cluster, const char *tenant)
{
	const Target *target = look_up(cluster, tenant);

	return target != NULL ? target->slot.batch : NULL;
}

static const Target *
look_up(Cluster *cluster, const char *tenant)
{
	const Target *target = NULL;

	pthread_rwlock_rdlock(&cluster->lock);
	if (cluster->map != NULL &&
		(tenant[0] != '\0' || !map_is_scoped(cluster->map)))
		target = cluster->current[map_tenant_slot(cluster->map, tenant)];
	pthread_rwlock_unlock(&cluster->lock);
	return target;
}

bool
cluster_enter(Cluster *cluster, const char *tenant, ClusterVisit *visit)
{
	const Target *target = look_up(cluster, tenant);
	Silence *silence;
	bool may;

	*visit = (ClusterVisit){.slot = -1};
	if (target == NULL)
		return true;
	visit->slot = target->slot.number;
	pthread_mutex_lock(&cluster->mutex);
	silence = &cluster->silences[visit->slot];
	may = !silence->probing && clock_us() >= silence->until_us;
	visit->probe = may && silence->until_us != 0;
	silence->probing |= visit->probe;
	pthread_mutex_unlock(&cluster->mutex);
	visit->since_us = clock_us();
	return may;
}

/* A connection that was lost sooner has nothing to do with the slot. */
void
cluster_leave(Cluster *cluster, const ClusterVisit *visit, bool connection_lost)
{
	int64_t limit_us;
	bool silent;
	Silence *silence;
	bool changed;

	/* The call was for no slot, and need not be to a router. */
	if (visit->slot < 0)
		return;
	limit_us = cluster->config->query_timeout * SECOND_US;
	silent = connection_lost && clock_us() - visit->since_us >= limit_us;
	pthread_mutex_lock(&cluster->mutex);
	silence = &cluster->silences[visit->slot];
	changed = silent != (silence->until_us != 0) && (silent || visit->probe);
	if (silent)
		silence->until_us = clock_us() + SILENCE_US;
	else if (changed)
		silence->until_us = 0;
	silence->probing &= !visit->probe;
	pthread_mutex_unlock(&cluster->mutex);
	if (changed)
		log_event(cluster->log,
				  silent ? LOG_WARN : LOG_INFO,
				  silent ? "slot %d does not answer" : "slot %d answers again",
				  visit->slot);
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
	{
		if (each->slot.pool != cluster->router)
			pool_cancel(each->slot.pool);
	}
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
		if (target->slot.pool != cluster->router)
			pool_stop(target->slot.pool);
		free(target->conninfo);
		free(target);
	}
	map_free(cluster->map);
	free(cluster->current);
	free(cluster->silences);
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
		if (cluster->config->direct_slots || pool_has_router(cluster->router))
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
	if (current != NULL && count_slots(cluster, map_slots(map)))
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
					  cluster->config->direct_slots
						  ? "read the map of %zu slots, to call them directly"
						  : "read the map of %zu slots",
					  count);
		cluster->failed = false;
	}
	map_free(old_map);
	free(old);
}

/* False: another number than before, or out of memory. */
static bool
count_slots(Cluster *cluster, int slots)
{
	bool counted;

	pthread_mutex_lock(&cluster->mutex);
	if (cluster->silences == NULL)
		cluster->silences = calloc((size_t) slots, sizeof(Silence));
	if (cluster->slots == 0)
		cluster->slots = slots;
	counted = cluster->silences != NULL && cluster->slots == slots;
	pthread_mutex_unlock(&cluster->mutex);
	return counted;
}

/* One whose slot is called through the router has no connection string. */
static Target *
find_target(Cluster *cluster, const SlotMap *map, int slot)
{
	bool direct = cluster->config->direct_slots;
	char *conninfo = direct ? map_join_connection(cluster->config->conninfo,
												  map_connection(map, slot))
							: strdup("");
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
	SlotBatch batch = {.beside = cluster->through_router,
					   .number = slot,
					   .doubt = doubt,
					   .cluster = cluster};
	bool direct = cluster->config->direct_slots;
	Target *target = calloc(1, sizeof(*target));

	if (target == NULL)
	{
		free(conninfo);
		return NULL;
	}
	target->conninfo = conninfo;
	target->config = *cluster->config;
	target->slot.number = slot;
	target->slot.config = &target->config;
	if (direct)
	{
		target->config.conninfo = conninfo;
		target->config.slot = slot;
		target->config.pool_min = 0;
		batch.router = cluster->through_router;
	}
	target->slot.pool =
		direct ? pool_create(&target->config, cluster->log) : cluster->router;
	if (target->slot.pool != NULL)
		target->slot.batch = batch_create_for_slot(&target->config,
												   cluster->log,
												   cluster->metrics,
												   target->slot.pool,
												   &batch);
	if (target->slot.batch == NULL)
	{
		if (direct && target->slot.pool != NULL)
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

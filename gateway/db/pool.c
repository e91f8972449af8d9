/*
 * pool.c: a pool of database connections.
 *
 * Two rules: a connection in an unknown state is never lent again, and no
 * request waits for a database that is known to be away. After a failed attempt
 * to connect only one thread, the keeper, tries again, a few times a second;
 * requests fail at once until it succeeds. The mutex is never held during
 * network traffic, except to cancel queries at shutdown.
 *
 * Calls can wait for locks in the database, and a session that holds a lock of
 * one conversation would make sends to it take all connections. So each class
 * of calls has some connections reserved, and shares the others; and sends give
 * up on a lock after SEND_LOCK_TIMEOUT.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "db/pool.h"
#include "db/route.h"

/* The keeper's period, and the same while the database is away. */
#define KEEPER_US SECOND_US
#define KEEPER_AWAY_US (SECOND_US / 5)

/* Longer than a worker holds a conversation, which is until its commit. */
#define SEND_LOCK_TIMEOUT "1s"

/* libpq keeps a buffer as large as the largest result of a connection. */
#define BLOATED_BYTES (1u << 20)

typedef enum SlotState
{
	SLOT_EMPTY,
	SLOT_OPENING, /* being opened or closed by some thread */
	SLOT_IDLE,
	SLOT_LENT
} SlotState;

/* Of the cluster. */
#define NO_SLOT (-1)

const char *const pool_class_names[POOL_CLASSES] =
	{"ingest", "service", "read", "send", "responses", "streams"};

const char pool_tenant_sql[] =
	"SELECT pg_catalog.set_config('msgstore.tenant_id', $1, true)";
static const char slot_tenant_sql[] =
	"SELECT pg_catalog.set_config('msgstore.tenant_id', $1, true),"
	" msgstore._check_slot_here($1, $2::int)";
static const char owner_sql[] =
	"SELECT pg_catalog.set_config('msgstore.owner', $1, true)";

struct PoolConnection
{
	Session session;
	Pool *pool;
	SlotState state;
	PoolClass class; /* that it is lent for */
	int called;		 /* the cluster's slot that it has called, or NO_SLOT */
	bool broken;	 /* lost, in an unknown state, or too large */
	int64_t opened_us;
	int64_t used_us;
};

struct Pool
{
	const Config *config;
	Log *log;
	pthread_t keeper;
	atomic_bool stopping;
	unsigned long long reserved[POOL_CLASSES]; /* connections of each class */

	pthread_mutex_t mutex; /* guards the members below */
	/* A slot became available for the class, or connecting failed, or we stop
	 */
	pthread_cond_t changed[POOL_CLASSES];
	pthread_cond_t wake;   /* for the keeper only: the pool stops */
	bool away;			   /* the last attempt to connect failed */
	bool router;		   /* the last connection was to a router */
	PoolConnection *slots; /* pool_max of them */
	PoolCounts counts;	   /* of each class in_use is always up to date */
};

static void reserve(Pool *pool);
static bool cannot_lend(const Pool *pool);
static bool may_lend(const Pool *pool, PoolClass class);
static PoolConnection *borrow(Pool *pool,
							  PoolClass class,
							  int cluster_slot,
							  long max_wait_ms,
							  const char **why);
static PoolConnection *take_slot(Pool *pool,
								 PoolClass class,
								 int cluster_slot,
								 int64_t deadline,
								 const char **why);
static void give_back(Pool *pool, PoolClass class);
static void wake_waiters(Pool *pool);
static void wake_all(Pool *pool);
static void judge(PoolConnection *connection, const QueryOutcome *outcome);
static PoolConnection *find_slot(Pool *pool, SlotState state);
static long count_open(const Pool *pool);
static PoolConnection *find_idle(Pool *pool, int cluster_slot);
static bool open_slot(Pool *pool, PoolConnection *slot);
static void close_slot(Pool *pool, PoolConnection *slot);
static bool is_alive(PoolConnection *slot);
static bool is_expired(const Pool *pool, const PoolConnection *slot);
static void *keep_pool(void *argument);
static void retire_idle(Pool *pool);
static void open_minimum(Pool *pool);

Pool *
pool_create(const Config *config, Log *log)
{
	Pool *pool = calloc(1, sizeof(*pool));

	if (pool == NULL)
		return NULL;
	pool->slots = calloc((size_t) config->pool_max, sizeof(PoolConnection));
	if (pool->slots == NULL)
	{
		free(pool);
		return NULL;
	}
	pool->config = config;
	pool->log = log;
	reserve(pool);
	for (long i = 0; i < config->pool_max; i++)
	{
		pool->slots[i].pool = pool;
		pool->slots[i].session = (Session){.config = config,
										   .log = log,
										   .stopping = &pool->stopping};
	}
	pthread_mutex_init(&pool->mutex, NULL);
	for (int i = 0; i < POOL_CLASSES; i++)
		clock_init_condition(&pool->changed[i]);
	clock_init_condition(&pool->wake);
	if (pthread_create(&pool->keeper, NULL, keep_pool, pool) != 0)
	{
		free(pool->slots);
		free(pool);
		return NULL;
	}
	return pool;
}

PoolConnection *
pool_borrow(Pool *pool, PoolClass class, long max_wait_ms, const char **why)
{
	return borrow(pool, class, NO_SLOT, max_wait_ms, why);
}

PoolConnection *
pool_borrow_for_slot(Pool *pool, PoolClass class, int slot, const char **why)
{
	return borrow(pool, class, slot, 0, why);
}

static PoolConnection *
borrow(Pool *pool,
	   PoolClass class,
	   int cluster_slot,
	   long max_wait_ms,
	   const char **why)
{
	int64_t wait_us = max_wait_ms > 0
						  ? (int64_t) max_wait_ms * 1000
						  : pool->config->pool_acquire_timeout * SECOND_US;
	PoolConnection *slot;

	pthread_mutex_lock(&pool->mutex);
	slot = take_slot(pool, class, cluster_slot, clock_us() + wait_us, why);
	pthread_mutex_unlock(&pool->mutex);
	if (slot == NULL)
		return NULL;
	slot->session.lock_timeout = class == POOL_SEND ? SEND_LOCK_TIMEOUT : NULL;
	if (cluster_slot != NO_SLOT)
		slot->called = cluster_slot;
	return slot;
}

/* The caller holds the mutex, which is released while this waits. */
static PoolConnection *
take_slot(Pool *pool,
		  PoolClass class,
		  int cluster_slot,
		  int64_t deadline,
		  const char **why)
{
	PoolClassCounts *counts = &pool->counts.classes[class];
	struct timespec until = clock_timespec(deadline);
	int64_t since = 0; /* waiting; 0: not yet */
	PoolConnection *slot;

	*why = "database is not reachable";
	for (;;)
	{
		bool may = may_lend(pool, class);

		slot = NULL;
		if (pool->stopping)
			*why = "gateway is stopping";
		if (cannot_lend(pool))
			break;
		slot = may ? find_idle(pool, cluster_slot) : NULL;
		if (slot != NULL)
		{
			slot->state = SLOT_LENT;
			slot->class = class;
			counts->in_use++;
			if (!is_expired(pool, slot) && is_alive(slot))
				break;
			close_slot(pool, slot);
			give_back(pool, class);
			continue;
		}
		slot = may && !pool->away ? find_slot(pool, SLOT_EMPTY) : NULL;
		if (slot != NULL)
		{
			slot->class = class;
			counts->in_use++;
			if (open_slot(pool, slot))
				break;
			give_back(pool, class);
			continue;
		}
		if (since == 0)
		{
			since = clock_us();
			counts->waits++;
		}
		counts->waiting++;
		if (pthread_cond_timedwait(&pool->changed[class],
								   &pool->mutex,
								   &until) == ETIMEDOUT)
		{
			counts->waiting--;
			counts->timeouts++;
			*why = "all database connections are busy";
			break;
		}
		counts->waiting--;
	}
	if (since != 0)
		counts->wait_us += (unsigned long long) (clock_us() - since);
	return slot;
}

void
pool_return(Pool *pool, PoolConnection *connection)
{
	bool fit = !connection->broken &&
			   PQstatus(connection->session.pg) == CONNECTION_OK &&
			   PQpipelineStatus(connection->session.pg) == PQ_PIPELINE_OFF &&
			   PQtransactionStatus(connection->session.pg) == PQTRANS_IDLE;
	PoolClass class = connection->class;

	pthread_mutex_lock(&pool->mutex);
	connection->used_us = clock_us();
	if (!fit || is_expired(pool, connection))
		close_slot(pool, connection);
	else
		connection->state = SLOT_IDLE;
	give_back(pool, class);
	pthread_mutex_unlock(&pool->mutex);
}

void
pool_prepare(PoolConnection *connection, const char *sql)
{
	session_prepare(&connection->session, sql);
}

bool
pool_is_router(const PoolConnection *connection)
{
	return connection->session.router;
}

QueryOutcome
pool_query(PoolConnection *connection,
		   const char *tenant,
		   const char *sql,
		   int count,
		   const char *const *values)
{
	const Statement statement = {.sql = sql, .count = count, .values = values};

	return pool_run(connection, tenant, "", &statement);
}

QueryOutcome
pool_run(PoolConnection *connection,
		 const char *tenant,
		 const char *owner,
		 const Statement *statement)
{
	long slot = connection->pool->config->slot;
	char number[16];
	const char *place[] = {tenant, number};
	Statement statements[3];
	PGresult *results[3];
	QueryOutcome outcome;
	int n = 0;

	snprintf(number, sizeof(number), "%ld", slot);
	if (tenant[0] != '\0')
		statements[n++] =
			(Statement){.sql = slot < 0 ? pool_tenant_sql : slot_tenant_sql,
						.count = slot < 0 ? 1 : 2,
						.values = place};
	if (owner[0] != '\0')
		statements[n++] =
			(Statement){.sql = owner_sql, .count = 1, .values = &owner};
	if (n == 0)
	{
		outcome = session_run(&connection->session, statement);
		judge(connection, &outcome);
		return outcome;
	}
	statements[n++] = *statement;
	outcome = pool_transaction(connection, statements, n, results);
	if (strcmp(outcome.sqlstate, "00000") == 0)
	{
		PQclear(outcome.result);
		for (int i = 0; i < n - 1; i++)
			PQclear(results[i]);
		outcome.result = results[n - 1];
	}
	return outcome;
}

QueryOutcome
pool_transaction(PoolConnection *connection,
				 const Statement *statements,
				 int count,
				 PGresult **results)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "55000"};

	if (!connection->session.scoped)
	{
		log_event(connection->pool->log,
				  LOG_ERROR,
				  "\"msgstore\" is not in shared_preload_libraries: cannot "
				  "serve requests for a tenant");
		return outcome;
	}
	outcome =
		session_transaction(&connection->session, statements, count, results);
	judge(connection, &outcome);
	for (int i = 0; i < count; i++)
		connection->broken |= PQresultMemorySize(results[i]) > BLOATED_BYTES;
	return outcome;
}

/*
 * Closes the connection when it is returned, unless it is as good as new. One
 * that has become read-only is replaced at most once a second, in case all
 * servers are.
 */
static void
judge(PoolConnection *connection, const QueryOutcome *outcome)
{
	connection->broken |= connection->session.stale ||
						  strncmp(outcome->sqlstate, "08", 2) == 0 ||
						  (session_lost_primary(outcome->sqlstate) &&
						   clock_us() - connection->opened_us > SECOND_US) ||
						  PQresultMemorySize(outcome->result) > BLOATED_BYTES;
}

PoolCounts
pool_counts(Pool *pool)
{
	PoolCounts counts;

	pthread_mutex_lock(&pool->mutex);
	counts = pool->counts;
	counts.connections = (unsigned long long) count_open(pool);
	for (long i = 0; i < pool->config->pool_max; i++)
		counts.idle += pool->slots[i].state == SLOT_IDLE;
	pthread_mutex_unlock(&pool->mutex);
	return counts;
}

bool
pool_has_router(Pool *pool)
{
	bool router;

	pthread_mutex_lock(&pool->mutex);
	router = pool->router;
	pthread_mutex_unlock(&pool->mutex);
	return router;
}

bool
pool_is_away(Pool *pool)
{
	bool away;

	pthread_mutex_lock(&pool->mutex);
	away = cannot_lend(pool);
	pthread_mutex_unlock(&pool->mutex);
	return away;
}

void
pool_cancel(Pool *pool)
{
	char ignored[256];

	pthread_mutex_lock(&pool->mutex);
	pool->stopping = true;
	wake_all(pool);
	for (long i = 0; i < pool->config->pool_max; i++)
	{
		if (pool->slots[i].state == SLOT_LENT)
			PQcancel(pool->slots[i].session.cancel, ignored, sizeof(ignored));
	}
	pthread_mutex_unlock(&pool->mutex);
}

void
pool_stop(Pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	pool->stopping = true;
	wake_all(pool);
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->mutex);
	pthread_join(pool->keeper, NULL);
	for (long i = 0; i < pool->config->pool_max; i++)
		session_close(&pool->slots[i].session);
	pthread_cond_destroy(&pool->wake);
	for (int i = 0; i < POOL_CLASSES; i++)
		pthread_cond_destroy(&pool->changed[i]);
	pthread_mutex_destroy(&pool->mutex);
	free(pool->slots);
	free(pool);
}

/*
 * Reserves about two thirds of the connections, in turns: a small pool has
 * some for the first classes only. At least one is always shared.
 */
static void
reserve(Pool *pool)
{
	static const PoolClass turns[] = {POOL_INGEST,
									  POOL_SERVICE,
									  POOL_READ,
									  POOL_SEND,
									  POOL_RESPONSES,
									  POOL_INGEST,
									  POOL_READ,
									  POOL_STREAMS};
	const long count = sizeof(turns) / sizeof(turns[0]);
	long shared = 1 + pool->config->pool_max / 5;

	for (long i = 0; i < pool->config->pool_max - shared; i++)
		pool->reserved[turns[i % count]]++;
}

/* The database is away, or we stop. */
static bool
cannot_lend(const Pool *pool)
{
	return pool->stopping || (pool->away && count_open(pool) == 0);
}

/* Would it leave enough connections to the other classes? */
static bool
may_lend(const Pool *pool, PoolClass class)
{
	unsigned long long taken = 1;

	for (int i = 0; i < POOL_CLASSES; i++)
	{
		unsigned long long in_use = pool->counts.classes[i].in_use;

		taken += i != (int) class && in_use < pool->reserved[i]
					 ? pool->reserved[i]
					 : in_use;
	}
	return taken <= (unsigned long long) pool->config->pool_max;
}

static void
give_back(Pool *pool, PoolClass class)
{
	pool->counts.classes[class].in_use--;
	wake_waiters(pool);
}

/* One of each class that may go on; those that find nothing wait again. */
static void
wake_waiters(Pool *pool)
{
	for (int i = 0; i < POOL_CLASSES; i++)
	{
		if (pool->counts.classes[i].waiting > 0 &&
			may_lend(pool, (PoolClass) i))
			pthread_cond_signal(&pool->changed[i]);
	}
}

static void
wake_all(Pool *pool)
{
	for (int i = 0; i < POOL_CLASSES; i++)
		pthread_cond_broadcast(&pool->changed[i]);
}

static PoolConnection *
find_slot(Pool *pool, SlotState state)
{
	for (long i = 0; i < pool->config->pool_max; i++)
	{
		if (pool->slots[i].state == state)
			return &pool->slots[i];
	}
	return NULL;
}

/* The number of open connections, without those being opened. */
static long
count_open(const Pool *pool)
{
	long open = 0;

	for (long i = 0; i < pool->config->pool_max; i++)
		open += pool->slots[i].state == SLOT_IDLE ||
				pool->slots[i].state == SLOT_LENT;
	return open;
}

/*
 * The most recently used one, so that surplus ones time out, of those that have
 * called that slot, if there are any: a session of the router connects to each
 * slot that it calls, and both ends keep what they have learned.
 */
static PoolConnection *
find_idle(Pool *pool, int cluster_slot)
{
	PoolConnection *best = NULL;

	for (long i = 0; i < pool->config->pool_max; i++)
	{
		PoolConnection *slot = &pool->slots[i];

		if (slot->state != SLOT_IDLE)
			continue;
		if (best == NULL ||
			((slot->called == cluster_slot) == (best->called == cluster_slot)
				 ? slot->used_us > best->used_us
				 : slot->called == cluster_slot))
			best = slot;
	}
	return best;
}

/* Opens a connection in an empty slot; releases the mutex meanwhile. */
static bool
open_slot(Pool *pool, PoolConnection *slot)
{
	bool away = pool->away;
	bool opened;

	slot->state = SLOT_OPENING;
	pthread_mutex_unlock(&pool->mutex);
	opened = route_open(&slot->session,
						"msgstore-gateway",
						away ? LOG_DEBUG : LOG_ERROR);
	if (opened && away)
		log_event(pool->log, LOG_INFO, "database is reachable again");
	pthread_mutex_lock(&pool->mutex);
	pool->away = !opened;
	if (!opened)
	{
		slot->state = SLOT_EMPTY;
		pool->counts.failures++;
		/* Requests that wait for a connection must fail at once, too. */
		wake_all(pool);
		return false;
	}
	pool->router = slot->session.router;
	slot->broken = false;
	slot->called = NO_SLOT;
	slot->opened_us = slot->used_us = clock_us();
	slot->state = SLOT_LENT;
	pool->counts.connects++;
	return true;
}

static void
close_slot(Pool *pool, PoolConnection *slot)
{
	slot->state = SLOT_OPENING;
	pthread_mutex_unlock(&pool->mutex);
	session_close(&slot->session);
	pthread_mutex_lock(&pool->mutex);
	slot->state = SLOT_EMPTY;
	wake_waiters(pool);
}

/*
 * A server that stopped has sent a message or closed the connection, which
 * poll shows without a round trip. A connection with unexpected data is not
 * reused, whatever the data is.
 */
static bool
is_alive(PoolConnection *slot)
{
	struct pollfd socket = {.fd = PQsocket(slot->session.pg), .events = POLLIN};

	return poll(&socket, 1, 0) == 0;
}

static bool
is_expired(const Pool *pool, const PoolConnection *slot)
{
	return clock_us() - slot->opened_us >
		   pool->config->pool_max_lifetime * SECOND_US;
}

/* Periodically closes old connections and opens missing ones. */
static void *
keep_pool(void *argument)
{
	Pool *pool = argument;

	pthread_mutex_lock(&pool->mutex);
	while (!pool->stopping)
	{
		struct timespec until;

		retire_idle(pool);
		open_minimum(pool);
		until = clock_timespec(clock_us() +
							   (pool->away ? KEEPER_AWAY_US : KEEPER_US));
		while (!pool->stopping &&
			   pthread_cond_timedwait(&pool->wake, &pool->mutex, &until) !=
				   ETIMEDOUT)
			continue;
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

static void
retire_idle(Pool *pool)
{
	int64_t idle_us = pool->config->pool_idle_timeout * SECOND_US;
	long open = count_open(pool);

	for (long i = 0; i < pool->config->pool_max; i++)
	{
		PoolConnection *slot = &pool->slots[i];

		if (slot->state != SLOT_IDLE)
			continue;
		if (is_expired(pool, slot) || !is_alive(slot) ||
			(open > pool->config->pool_min &&
			 clock_us() - slot->used_us > idle_us))
		{
			close_slot(pool, slot);
			open--;
		}
	}
}

/* After a failed attempt, only this function tries to connect again. */
static void
open_minimum(Pool *pool)
{
	for (;;)
	{
		PoolConnection *slot = find_slot(pool, SLOT_EMPTY);

		if (slot == NULL)
		{
			pool->away = false;
			return;
		}
		if (pool->stopping ||
			(!pool->away && count_open(pool) >= pool->config->pool_min) ||
			!open_slot(pool, slot))
			return;
		slot->state = SLOT_IDLE;
		wake_waiters(pool);
	}
}

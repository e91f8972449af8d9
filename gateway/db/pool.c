/*
 * pool.c: a pool of database connections.
 *
 * Two rules: a connection in an unknown state is never lent again, and no
 * request waits for a database that is known to be away. After a failed attempt
 * to connect only one thread, the keeper, tries again, a few times a second;
 * requests fail at once until it succeeds. The mutex is never held during
 * network traffic, except to cancel queries at shutdown.
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

/* The keeper's period, and the same while the database is away. */
#define KEEPER_US SECOND_US
#define KEEPER_AWAY_US (SECOND_US / 5)

typedef enum SlotState
{
	SLOT_EMPTY,
	SLOT_OPENING, /* being opened or closed by some thread */
	SLOT_IDLE,
	SLOT_LENT
} SlotState;

const char pool_tenant_sql[] =
	"SELECT pg_catalog.set_config('msgstore.tenant_id', $1, true)";

struct PoolConnection
{
	Session session;
	Pool *pool;
	SlotState state;
	bool broken; /* lost, or in an unknown state */
	int64_t opened_us;
	int64_t used_us;
};

struct Pool
{
	const Config *config;
	Log *log;
	pthread_t keeper;
	atomic_bool stopping;

	pthread_mutex_t mutex;	/* guards the members below */
	pthread_cond_t changed; /* a slot became idle or empty, or connecting
							   failed, or the pool stops */
	pthread_cond_t wake;	/* for the keeper only: the pool stops */
	bool away;				/* the last attempt to connect failed */
	PoolConnection *slots;	/* pool_max of them */
	PoolCounts counts;
};

static PoolConnection *find_slot(Pool *pool, SlotState state);
static long count_open(const Pool *pool);
static PoolConnection *find_newest_idle(Pool *pool);
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
	pthread_condattr_t attributes;

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
	for (long i = 0; i < config->pool_max; i++)
	{
		pool->slots[i].pool = pool;
		pool->slots[i].session = (Session){.config = config,
										   .log = log,
										   .stopping = &pool->stopping};
	}
	pthread_mutex_init(&pool->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->changed, &attributes);
	pthread_cond_init(&pool->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&pool->keeper, NULL, keep_pool, pool) != 0)
	{
		free(pool->slots);
		free(pool);
		return NULL;
	}
	return pool;
}

PoolConnection *
pool_borrow(Pool *pool, long max_wait_ms, const char **why)
{
	int64_t wait_us = max_wait_ms > 0
						  ? (int64_t) max_wait_ms * 1000
						  : pool->config->pool_acquire_timeout * SECOND_US;
	int64_t deadline = clock_us() + wait_us;
	struct timespec until = clock_timespec(deadline);
	PoolConnection *slot;

	*why = "database is not reachable";
	pthread_mutex_lock(&pool->mutex);
	for (;;)
	{
		slot = pool->stopping ? NULL : find_newest_idle(pool);
		if (slot != NULL)
		{
			slot->state = SLOT_LENT;
			if (!is_expired(pool, slot) && is_alive(slot))
				break;
			close_slot(pool, slot);
			continue;
		}
		if (pool->stopping)
			*why = "gateway is stopping";
		if (pool->stopping || (pool->away && count_open(pool) == 0))
			break;
		slot = pool->away ? NULL : find_slot(pool, SLOT_EMPTY);
		if (slot != NULL && open_slot(pool, slot))
			break;
		if (slot != NULL)
			continue;
		if (pthread_cond_timedwait(&pool->changed, &pool->mutex, &until) ==
			ETIMEDOUT)
		{
			*why = "all database connections are busy";
			break;
		}
	}
	pthread_mutex_unlock(&pool->mutex);
	return slot;
}

void
pool_return(Pool *pool, PoolConnection *connection)
{
	bool fit = !connection->broken &&
			   PQstatus(connection->session.pg) == CONNECTION_OK &&
			   PQpipelineStatus(connection->session.pg) == PQ_PIPELINE_OFF &&
			   PQtransactionStatus(connection->session.pg) == PQTRANS_IDLE;

	pthread_mutex_lock(&pool->mutex);
	connection->used_us = clock_us();
	if (!fit || is_expired(pool, connection))
		close_slot(pool, connection);
	else
	{
		connection->state = SLOT_IDLE;
		pthread_cond_signal(&pool->changed);
	}
	pthread_mutex_unlock(&pool->mutex);
}

QueryOutcome
pool_query(PoolConnection *connection,
		   const char *tenant,
		   const char *sql,
		   int count,
		   const char *const *values)
{
	const Statement statements[] = {{pool_tenant_sql, 1, &tenant},
									{sql, count, values}};
	PGresult *results[2];
	QueryOutcome outcome;

	if (tenant[0] == '\0')
	{
		outcome = session_query(&connection->session, sql, count, values);
		if (strncmp(outcome.sqlstate, "08", 2) == 0)
			connection->broken = true;
		return outcome;
	}
	outcome = pool_transaction(connection, statements, 2, results);
	if (strcmp(outcome.sqlstate, "00000") == 0)
	{
		PQclear(outcome.result);
		PQclear(results[0]);
		outcome.result = results[1];
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
	if (strncmp(outcome.sqlstate, "08", 2) == 0)
		connection->broken = true;
	return outcome;
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

void
pool_cancel(Pool *pool)
{
	char ignored[256];

	pthread_mutex_lock(&pool->mutex);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->changed);
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
	pthread_cond_broadcast(&pool->changed);
	pthread_cond_signal(&pool->wake);
	pthread_mutex_unlock(&pool->mutex);
	pthread_join(pool->keeper, NULL);
	for (long i = 0; i < pool->config->pool_max; i++)
		session_close(&pool->slots[i].session);
	pthread_cond_destroy(&pool->wake);
	pthread_cond_destroy(&pool->changed);
	pthread_mutex_destroy(&pool->mutex);
	free(pool->slots);
	free(pool);
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

/* The most recently used one, so that surplus ones time out. */
static PoolConnection *
find_newest_idle(Pool *pool)
{
	PoolConnection *newest = NULL;

	for (long i = 0; i < pool->config->pool_max; i++)
	{
		PoolConnection *slot = &pool->slots[i];

		if (slot->state == SLOT_IDLE &&
			(newest == NULL || slot->used_us > newest->used_us))
			newest = slot;
	}
	return newest;
}

/* Opens a connection in an empty slot; releases the mutex meanwhile. */
static bool
open_slot(Pool *pool, PoolConnection *slot)
{
	bool away = pool->away;
	bool opened;

	slot->state = SLOT_OPENING;
	pthread_mutex_unlock(&pool->mutex);
	opened = session_open(&slot->session,
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
		pthread_cond_broadcast(&pool->changed);
		return false;
	}
	slot->broken = false;
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
	pthread_cond_broadcast(&pool->changed);
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
		pthread_cond_broadcast(&pool->changed);
	}
}

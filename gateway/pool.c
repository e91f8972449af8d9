/*
 * pool.c: lend, take back and retire libpq connections.
 *
 * Two rules: a connection in an unknown state is never lent again, and nobody
 * waits for a database that is known to be away. After a failed attempt to
 * connect only the keeper looks for it, a few times a second; all others fail
 * at once until it has found it. Connecting, asking and waiting all happen
 * outside of the mutex and under a deadline, also when the server's host has
 * vanished without a word.
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
#include "pool.h"

/* How often the keeper looks at the pool, and for a database that is away. */
#define KEEPER_US SECOND_US
#define KEEPER_AWAY_US (SECOND_US / 5)

/* The server's own statement timeout comes first and says more. */
#define SERVER_GRACE_US (2 * SECOND_US)

typedef enum SlotState
{
	SLOT_EMPTY,
	SLOT_OPENING, /* somebody is connecting or closing; counts as taken */
	SLOT_IDLE,
	SLOT_LENT
} SlotState;

struct PoolConnection
{
	PGconn *pg;
	PGcancel *cancel; /* made at connect: PQcancel must not touch pg */
	Pool *pool;
	SlotState state;
	bool broken; /* lost, or left in the middle of something */
	int64_t opened_us;
	int64_t used_us;
};

struct Pool
{
	const Config *config;
	Log *log;
	pthread_t keeper;
	atomic_bool stopping;

	pthread_mutex_t mutex;	/* guards everything below */
	pthread_cond_t changed; /* a slot became idle or empty, or connecting
							   failed, or the pool stops */
	pthread_cond_t wake;	/* for the keeper alone: the pool stops */
	bool away;				/* the last attempt to connect failed */
	PoolConnection *slots;	/* pool_max of them */
	PoolCounts counts;
};

static PoolConnection *find_slot(Pool *pool, SlotState state);
static long count_open(const Pool *pool);
static PoolConnection *find_newest_idle(Pool *pool);
static bool open_slot(Pool *pool, PoolConnection *slot);
static void close_slot(Pool *pool, PoolConnection *slot);
static PGconn *connect_database(Pool *pool, LogLevel level);
static bool finish_connecting(Pool *pool, PGconn *pg, int64_t deadline);
static bool prepare_session(Pool *pool, PGconn *pg, int64_t deadline);
static const char *describe_failure(PGconn *pg);
static bool is_alive(PoolConnection *slot);
static bool is_expired(const Pool *pool, const PoolConnection *slot);
static bool wait_socket(PGconn *pg, short events, int64_t deadline);
static bool send_all(PGconn *pg, int64_t deadline);
static PGresult *receive_last(PGconn *pg, int64_t deadline);
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
		pool->slots[i].pool = pool;
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
			*why = "all connections of the database are busy";
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
			   PQstatus(connection->pg) == CONNECTION_OK &&
			   PQtransactionStatus(connection->pg) == PQTRANS_IDLE;

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
		   const char *sql,
		   int count,
		   const char *const *values)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "08006"};
	PGconn *pg = connection->pg;
	Pool *pool = connection->pool;
	int64_t deadline =
		clock_us() + SERVER_GRACE_US + pool->config->query_timeout * SECOND_US;

	/*
	 * Not prepared: reading and planning the call was measured at 0.06 ms,
	 * once for a whole batch, and without a name there is nothing that a
	 * pooler in between or a new version of the extension could invalidate.
	 */
	if (PQsendQueryParams(pg, sql, count, NULL, values, NULL, NULL, 0) &&
		send_all(pg, deadline))
		outcome.result = receive_last(pg, deadline);
	if (outcome.result == NULL)
	{
		connection->broken = true;
		log_event(pool->log,
				  LOG_ERROR,
				  "lost the database during a call: %s",
				  describe_failure(pg));
		return outcome;
	}
	if (PQresultStatus(outcome.result) == PGRES_TUPLES_OK)
		memcpy(outcome.sqlstate, "00000", 6);
	else
	{
		const char *state =
			PQresultErrorField(outcome.result, PG_DIAG_SQLSTATE);

		/* Without a SQLSTATE the message is libpq's: the connection broke. */
		if (state != NULL && strlen(state) == 5)
			memcpy(outcome.sqlstate, state, 6);
		else
			connection->broken = true;
	}
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
			PQcancel(pool->slots[i].cancel, ignored, sizeof(ignored));
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
	{
		PQfreeCancel(pool->slots[i].cancel);
		PQfinish(pool->slots[i].pg);
	}
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

/* Connections that are there; those on their way do not count. */
static long
count_open(const Pool *pool)
{
	long open = 0;

	for (long i = 0; i < pool->config->pool_max; i++)
		open += pool->slots[i].state == SLOT_IDLE ||
				pool->slots[i].state == SLOT_LENT;
	return open;
}

/* The newest one, so that those not needed grow old and are closed. */
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

/* Connects for an empty slot and lends it; the mutex is free meanwhile. */
static bool
open_slot(Pool *pool, PoolConnection *slot)
{
	PGconn *pg;
	bool away = pool->away;

	slot->state = SLOT_OPENING;
	pthread_mutex_unlock(&pool->mutex);
	pg = connect_database(pool, away ? LOG_DEBUG : LOG_ERROR);
	if (pg != NULL && away)
		log_event(pool->log, LOG_INFO, "database is reachable again");
	pthread_mutex_lock(&pool->mutex);
	pool->away = pg == NULL;
	if (pg == NULL)
	{
		slot->state = SLOT_EMPTY;
		pool->counts.failures++;
		/* Whoever waits for a connection now fails as fast as this one. */
		pthread_cond_broadcast(&pool->changed);
		return false;
	}
	slot->pg = pg;
	slot->cancel = PQgetCancel(pg);
	slot->broken = false;
	slot->opened_us = slot->used_us = clock_us();
	slot->state = SLOT_LENT;
	pool->counts.connects++;
	return true;
}

static void
close_slot(Pool *pool, PoolConnection *slot)
{
	PGconn *pg = slot->pg;
	PGcancel *cancel = slot->cancel;

	slot->state = SLOT_OPENING;
	slot->pg = NULL;
	slot->cancel = NULL;
	pthread_mutex_unlock(&pool->mutex);
	PQfreeCancel(cancel);
	PQfinish(pg);
	pthread_mutex_lock(&pool->mutex);
	slot->state = SLOT_EMPTY;
	pthread_cond_broadcast(&pool->changed);
}

/* A failure is logged at the level given: its repetitions are no news. */
static PGconn *
connect_database(Pool *pool, LogLevel level)
{
	/* What stands in the URL comes after these and wins over them. */
	static const char *const names[] = {"application_name",
										"keepalives_idle",
										"keepalives_interval",
										"keepalives_count",
										"tcp_user_timeout",
										"dbname",
										"client_encoding",
										NULL};
	const char *values[] = {"msgstore-gateway",
							"10",
							"5",
							"3",
							"15000",
							pool->config->conninfo,
							"UTF8",
							NULL};
	int64_t deadline =
		clock_us() + pool->config->pool_connect_timeout * SECOND_US;
	PGconn *pg = PQconnectStartParams(names, values, 1);

	if (pg == NULL)
		return NULL;
	if (!finish_connecting(pool, pg, deadline) ||
		!prepare_session(pool, pg, deadline))
	{
		log_event(pool->log,
				  level,
				  "could not connect to the database: %s",
				  describe_failure(pg));
		PQfinish(pg);
		return NULL;
	}
	return pg;
}

static bool
finish_connecting(Pool *pool, PGconn *pg, int64_t deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(pg) == CONNECTION_BAD)
		return false;
	while (status != PGRES_POLLING_OK)
	{
		short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;

		if (status == PGRES_POLLING_FAILED || pool->stopping ||
			!wait_socket(pg, events, deadline))
			return false;
		status = PQconnectPoll(pg);
	}
	return PQsetnonblocking(pg, 1) == 0;
}

/*
 * Bounds what the server does for us, and makes sure that a commit is on disk
 * when it returns, whatever the server's default is: an answer 202 is a
 * promise. The other values of synchronous_commit are durable here as well.
 */
static bool
prepare_session(Pool *pool, PGconn *pg, int64_t deadline)
{
	static const char sql[] =
		"SELECT set_config('statement_timeout', $1, false),"
		" CASE WHEN current_setting('synchronous_commit') = 'off'"
		" THEN set_config('synchronous_commit', 'on', false) END";
	char timeout[32];
	const char *values[] = {timeout};
	PGresult *result;
	bool done;

	snprintf(timeout, sizeof(timeout), "%lds", pool->config->query_timeout);
	if (!PQsendQueryParams(pg, sql, 1, NULL, values, NULL, NULL, 0) ||
		!send_all(pg, deadline))
		return false;
	result = receive_last(pg, deadline);
	done = PQresultStatus(result) == PGRES_TUPLES_OK;
	PQclear(result);
	return done;
}

static const char *
describe_failure(PGconn *pg)
{
	const char *message = PQerrorMessage(pg);

	return message[0] != '\0' ? message : "no answer in time";
}

/*
 * A server that went away has said so, or has closed its end; that can be seen
 * for free. A connection on which something comes that nobody asked for is
 * not worth the question of what it is.
 */
static bool
is_alive(PoolConnection *slot)
{
	struct pollfd socket = {.fd = PQsocket(slot->pg), .events = POLLIN};

	return poll(&socket, 1, 0) == 0;
}

static bool
is_expired(const Pool *pool, const PoolConnection *slot)
{
	return clock_us() - slot->opened_us >
		   pool->config->pool_max_lifetime * SECOND_US;
}

/* Also true when the socket has failed: the next call of libpq says how. */
static bool
wait_socket(PGconn *pg, short events, int64_t deadline)
{
	for (;;)
	{
		struct pollfd socket = {.fd = PQsocket(pg), .events = events};
		int64_t left = deadline - clock_us();
		int ready;

		if (left <= 0 || socket.fd < 0)
			return false;
		ready = poll(&socket, 1, (int) (left / 1000 + 1));
		if (ready > 0)
			return true;
		if (ready < 0 && errno != EINTR)
			return false;
	}
}

static bool
send_all(PGconn *pg, int64_t deadline)
{
	int left;

	while ((left = PQflush(pg)) == 1)
	{
		if (!wait_socket(pg, POLLIN | POLLOUT, deadline) || !PQconsumeInput(pg))
			return false;
	}
	return left == 0;
}

/* The last result of what was sent, or NULL if it cannot be had in time. */
static PGresult *
receive_last(PGconn *pg, int64_t deadline)
{
	PGresult *last = NULL;
	PGresult *next;

	for (;;)
	{
		while (PQisBusy(pg))
		{
			if (!wait_socket(pg, POLLIN, deadline) || !PQconsumeInput(pg))
			{
				PQclear(last);
				return NULL;
			}
		}
		next = PQgetResult(pg);
		if (next == NULL)
			return last;
		PQclear(last);
		last = next;
	}
}

/* Now and then: what has grown old goes, what is missing comes. */
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

/* Also the only one who tries when the last attempt has failed. */
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

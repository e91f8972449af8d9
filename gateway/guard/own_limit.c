/*
 * own_limit.c: the limit of a gateway that asks for no keys.
 *
 * Such a gateway works for one tenant: the one that its role has, or none. Its
 * limit is kept in the database as that of any tenant. A thread of its own
 * asks for it, while there are requests, so that no request waits for it and
 * an idle gateway asks nothing.
 *
 * A database that has no such function, or does not let this role call it,
 * knows no limits.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "guard/own_limit.h"

/* For how long an answer is good, and how soon it is asked again without. */
#define GOOD_US (2 * SECOND_US)
#define RETRY_US (30 * SECOND_US)
#define BORROW_MS 1000

struct OwnLimit
{
	Pool *pool;
	pthread_t thread;
	atomic_long rate; /* requests a second; 0: no limit */
	atomic_long burst;
	_Atomic int64_t until_us; /* the answer is good */

	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t needed; /* an answer is, or it is the end */
	bool asked;
	bool stopping;
};

static const char limit_sql[] =
	"SELECT requests_per_second, burst FROM msgstore.tenant_limit(coalesce("
	"pg_catalog.current_setting('msgstore.tenant_id', true), ''))";

static void *keep_limit(void *argument);
static void ask(OwnLimit *limit);

OwnLimit *
own_limit_create(Pool *pool)
{
	OwnLimit *limit = calloc(1, sizeof(*limit));

	if (limit == NULL)
		return NULL;
	limit->pool = pool;
	pthread_mutex_init(&limit->mutex, NULL);
	pthread_cond_init(&limit->needed, NULL);
	if (pthread_create(&limit->thread, NULL, keep_limit, limit) == 0)
		return limit;
	free(limit);
	return NULL;
}

void
own_limit_get(OwnLimit *limit, Caller *caller)
{
	if (clock_us() >= limit->until_us)
	{
		pthread_mutex_lock(&limit->mutex);
		if (!limit->asked)
			pthread_cond_signal(&limit->needed);
		limit->asked = true;
		pthread_mutex_unlock(&limit->mutex);
	}
	caller->rate = limit->rate;
	caller->burst = limit->burst;
}

void
own_limit_stop(OwnLimit *limit)
{
	pthread_mutex_lock(&limit->mutex);
	limit->stopping = true;
	pthread_cond_signal(&limit->needed);
	pthread_mutex_unlock(&limit->mutex);
	pool_cancel(limit->pool);
	pthread_join(limit->thread, NULL);
	pthread_cond_destroy(&limit->needed);
	pthread_mutex_destroy(&limit->mutex);
	free(limit);
}

static void *
keep_limit(void *argument)
{
	OwnLimit *limit = argument;

	pthread_mutex_lock(&limit->mutex);
	while (!limit->stopping)
	{
		if (!limit->asked)
		{
			pthread_cond_wait(&limit->needed, &limit->mutex);
			continue;
		}
		pthread_mutex_unlock(&limit->mutex);
		ask(limit);
		pthread_mutex_lock(&limit->mutex);
		limit->asked = false;
	}
	pthread_mutex_unlock(&limit->mutex);
	return NULL;
}

/* While the database is away the last answer stays. */
static void
ask(OwnLimit *limit)
{
	const char *why;
	PoolConnection *connection = pool_borrow(limit->pool, BORROW_MS, &why);
	QueryOutcome outcome;

	if (connection == NULL)
	{
		limit->until_us = clock_us() + GOOD_US;
		return;
	}
	outcome = pool_query(connection, "", limit_sql, 0, NULL);
	pool_return(limit->pool, connection);
	if (strcmp(outcome.sqlstate, "00000") == 0)
	{
		bool limited = PQntuples(outcome.result) > 0;

		limit->burst = limited ? atol(PQgetvalue(outcome.result, 0, 1)) : 0;
		limit->rate = limited ? atol(PQgetvalue(outcome.result, 0, 0)) : 0;
		limit->until_us = clock_us() + GOOD_US;
	}
	else
		limit->until_us = clock_us() + RETRY_US;
	PQclear(outcome.result);
}

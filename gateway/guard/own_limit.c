/*
 * own_limit.c: the rate limit of a gateway that requires no keys.
 *
 * Such a gateway works for one tenant, that of its database role, or for none.
 * A thread reads the tenant's limit from the database while there are requests,
 * so no request waits for it, and an idle gateway runs no queries.
 *
 * If the function does not exist or the role may not call it, there is no
 * limit.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "guard/own_limit.h"

/* How long an answer is used, and the delay after an error. */
#define GOOD_US (2 * SECOND_US)
#define RETRY_US (30 * SECOND_US)
#define BORROW_MS 1000

struct OwnLimit
{
	Pool *pool;
	pthread_t thread;
	atomic_long rate; /* requests a second; 0: no limit */
	atomic_long burst;
	_Atomic int64_t until_us; /* when the answer must be renewed */

	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t needed; /* an answer is requested, or we stop */
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

/* While the database is away the last answer stays in use. */
static void
ask(OwnLimit *limit)
{
	const char *why;
	PoolConnection *connection =
		pool_borrow(limit->pool, POOL_SERVICE, BORROW_MS, &why);
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

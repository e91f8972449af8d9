/*
 * pool.h: a pool of database connections.
 */
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>

#include "config/config.h"
#include "db/session.h"
#include "log.h"

typedef struct Pool Pool;
typedef struct PoolConnection PoolConnection;

typedef struct PoolCounts
{
	unsigned long long connections;
	unsigned long long idle;
	unsigned long long connects; /* since the start */
	unsigned long long failures; /* failed attempts to connect */
} PoolCounts;

/* Does not wait for the database: the gateway starts without it. */
Pool *pool_create(const Config *config, Log *log);

/*
 * Lends an idle connection that looks alive. Returns NULL at once if the
 * database is not reachable, and after max_wait_ms (0: the URL's
 * acquire_timeout) if all connections are in use; *why is then a constant for
 * the client.
 */
PoolConnection *pool_borrow(Pool *pool, long max_wait_ms, const char **why);

/* Takes it back; closes it unless it is as good as new. */
void pool_return(Pool *pool, PoolConnection *connection);

/*
 * Runs one statement with text parameters in its own transaction, for that
 * tenant ("": the role's own, or none). Success means that it has committed.
 * The tenant is reset at the end of the transaction.
 */
QueryOutcome pool_query(PoolConnection *connection,
						const char *tenant,
						const char *sql,
						int count,
						const char *const *values);

/* Like session_transaction, for statements that may set a tenant. */
QueryOutcome pool_transaction(PoolConnection *connection,
							  const Statement *statements,
							  int count,
							  PGresult **results);

/* Sets the tenant, its only parameter, until the end of the transaction. */
extern const char pool_tenant_sql[];

PoolCounts pool_counts(Pool *pool);

/*
 * For shutdown: lends no more connections and cancels running queries. It can
 * miss a query that is being sent, so it may be called again.
 */
void pool_cancel(Pool *pool);
void pool_stop(Pool *pool);

#endif /* POOL_H */

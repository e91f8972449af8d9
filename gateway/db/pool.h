/*
 * pool.h: connections to the database, lent one at a time.
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
	unsigned long long failures; /* attempts to connect that failed */
} PoolCounts;

/* Opens nothing yet: the gateway starts whether or not there is a database. */
Pool *pool_create(const Config *config, Log *log);

/*
 * Lends a connection that is idle and was alive a moment ago. Returns NULL at
 * once if the database cannot be reached, and after max_wait_ms (0: the URL's
 * acquire_timeout) if all are lent; *why is then a constant for the client.
 */
PoolConnection *pool_borrow(Pool *pool, long max_wait_ms, const char **why);

/* Takes it back; keeps it only if its next user finds it as a new one. */
void pool_return(Pool *pool, PoolConnection *connection);

/*
 * One statement with text parameters in a transaction of its own, for that
 * tenant; "": for the role's own, or for none. Success means that it has
 * committed. The tenant does not outlive the transaction.
 */
QueryOutcome pool_query(PoolConnection *connection,
						const char *tenant,
						const char *sql,
						int count,
						const char *const *values);

/* As session_transaction, for statements that may set a tenant. */
QueryOutcome pool_transaction(PoolConnection *connection,
							  const Statement *statements,
							  int count,
							  PGresult **results);

/* Sets the tenant that is its one value, until the transaction ends. */
extern const char pool_tenant_sql[];

PoolCounts pool_counts(Pool *pool);

/*
 * For the end of a stop: lends nothing any more and cancels what runs. What
 * is sent at this very moment may be missed, so it can be repeated.
 */
void pool_cancel(Pool *pool);
void pool_stop(Pool *pool);

#endif /* POOL_H */

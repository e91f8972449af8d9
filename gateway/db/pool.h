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

/*
 * What a connection is borrowed for. Each class has connections that the others
 * leave free, so that none of them can be shut out by calls of another one.
 */
typedef enum PoolClass
{
	POOL_INGEST,  /* webhooks and callbacks */
	POOL_SERVICE, /* keys, limits and metrics */
	POOL_READ,
	POOL_SEND, /* waits for locks only briefly, see pool.c */
	POOL_RESPONSES,
	POOL_STREAMS,
	POOL_CLASSES
} PoolClass;

/* The router's message about a slot that cannot be reached; with its number. */
#define SLOT_AWAY "slot %d is not reachable"

/* As in the names of metrics. */
extern const char *const pool_class_names[POOL_CLASSES];

typedef struct PoolClassCounts
{
	unsigned long long in_use;
	unsigned long long waiting;	 /* requests, for a connection */
	unsigned long long waits;	 /* since the start, as the next two */
	unsigned long long wait_us;	 /* of all waits together */
	unsigned long long timeouts; /* waits that ended without a connection */
} PoolClassCounts;

typedef struct PoolCounts
{
	unsigned long long connections;
	unsigned long long idle;
	unsigned long long connects; /* since the start */
	unsigned long long failures; /* failed attempts to connect */
	PoolClassCounts classes[POOL_CLASSES];
} PoolCounts;

/* Does not wait for the database: the gateway starts without it. */
Pool *pool_create(const Config *config, Log *log);

/*
 * Lends an idle connection that looks alive. Returns NULL at once if the
 * database is not reachable, and after max_wait_ms (0: the URL's
 * acquire_timeout) if all connections that the class may use are in use; *why
 * is then a constant for the client.
 */
PoolConnection *
pool_borrow(Pool *pool, PoolClass class, long max_wait_ms, const char **why);

/* The same for a call of that slot through a router. */
PoolConnection *
pool_borrow_for_slot(Pool *pool, PoolClass class, int slot, const char **why);

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

/*
 * The same for an owner of responses ("": the role's own, or none) as well, and
 * for a statement that may have binary parameters.
 */
QueryOutcome pool_run(PoolConnection *connection,
					  const char *tenant,
					  const char *owner,
					  const Statement *statement);

/* Is the database a router? Then a batch must not span slots. */
bool pool_is_router(const PoolConnection *connection);

/* Like session_prepare, for the next calls on this connection. */
void pool_prepare(PoolConnection *connection, const char *sql);

/* Like session_transaction, for statements that may set a tenant. */
QueryOutcome pool_transaction(PoolConnection *connection,
							  const Statement *statements,
							  int count,
							  PGresult **results);

/* Sets the tenant, its only parameter, until the end of the transaction. */
extern const char pool_tenant_sql[];

PoolCounts pool_counts(Pool *pool);

/* The same of its last connection; false before the first one. */
bool pool_has_router(Pool *pool);

/* True if pool_borrow would fail at once. */
bool pool_is_away(Pool *pool);

/*
 * For shutdown: lends no more connections and cancels running queries. It can
 * miss a query that is being sent, so it may be called again.
 */
void pool_cancel(Pool *pool);
void pool_stop(Pool *pool);

#endif /* POOL_H */

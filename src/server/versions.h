/*
 * server/versions.h: names of PostgreSQL's newest version for older versions.
 *
 * The code uses the newest names only. Declarations that a function does not
 * return start with pg_noreturn.
 */
#ifndef SERVER_VERSIONS_H
#define SERVER_VERSIONS_H

#include "miscadmin.h"

#if PG_VERSION_NUM < 170000
#define AmBackgroundWorkerProcess() (IsBackgroundWorker)
#endif

#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#define index_beginscan(table, key, snapshot, counts, n, order, flags)         \
	index_beginscan(table, key, snapshot, n, order)
#elif PG_VERSION_NUM < 190000
#define index_beginscan(table, key, snapshot, counts, n, order, flags)         \
	index_beginscan(table, key, snapshot, counts, n, order)
#endif

#if PG_VERSION_NUM < 190000
#define ShmemInitHash(name, size, info, flags)                                 \
	ShmemInitHash(name, size, size, info, flags)
#endif

#endif /* SERVER_VERSIONS_H */

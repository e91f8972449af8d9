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
#endif

#endif /* SERVER_VERSIONS_H */

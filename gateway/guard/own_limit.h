/*
 * own_limit.h: the limit of a gateway that asks for no keys.
 */
#ifndef OWN_LIMIT_H
#define OWN_LIMIT_H

#include "caller.h"
#include "config/config.h"
#include "db/pool.h"

typedef struct OwnLimit OwnLimit;

OwnLimit *own_limit_create(Pool *pool);

/* Fills in the caller's rate and burst; never waits for the database. */
void own_limit_get(OwnLimit *limit, Caller *caller);

/* Ends the thread; nobody else may use the pool any more. */
void own_limit_stop(OwnLimit *limit);

#endif /* OWN_LIMIT_H */

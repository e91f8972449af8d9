/*
 * own_limit.h: the rate limit of a gateway that requires no keys.
 */
#ifndef OWN_LIMIT_H
#define OWN_LIMIT_H

#include "caller.h"
#include "config/config.h"
#include "db/pool.h"

typedef struct OwnLimit OwnLimit;

OwnLimit *own_limit_create(Pool *pool);

/* Sets the caller's rate and burst; never waits for the database. */
void own_limit_get(OwnLimit *limit, Caller *caller);

/* Ends the thread, and cancels all queries of the pool. */
void own_limit_stop(OwnLimit *limit);

#endif /* OWN_LIMIT_H */

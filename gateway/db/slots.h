/*
 * slots.h: the slots of a cluster that the items of a batch belong to.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include "db/item.h"
#include "db/pool.h"

/*
 * Asks a router for the slot of each item. The items are sorted by tenant. The
 * caller clears the outcome's result.
 */
QueryOutcome slots_assign(PoolConnection *connection, BatchItem *items);

#endif /* SLOTS_H */

/*
 * ingest.h: the calls of ingest_batch that store a list of items.
 */
#ifndef INGEST_H
#define INGEST_H

#include <stdbool.h>

#include "db/item.h"
#include "db/pool.h"

/* Lets the server parse and plan the call once for the connection. */
void ingest_prepare(PoolConnection *connection);

/*
 * Stores the items, which are sorted by tenant, in one transaction. On success
 * sets the result of each. If the items are of one slot of a cluster, they name
 * their tenants. The caller clears the outcome's result.
 */
QueryOutcome
ingest_items(PoolConnection *connection, BatchItem *items, bool of_slot);

#endif /* INGEST_H */

/*
 * route.h: opens a session in a slot of a cluster.
 */
#ifndef ROUTE_H
#define ROUTE_H

#include "db/session.h"

/*
 * Like session_open. If the settings name a slot, the database must be that
 * slot; a router is asked where the slot is.
 */
bool route_open(Session *session, const char *name, LogLevel level);

#endif /* ROUTE_H */

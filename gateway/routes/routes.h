/*
 * routes.h: from method and path to a handler.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "exchange.h"

/* Answers the request: sets request->reply. */
void routes_dispatch(Request *request);

#endif /* ROUTES_H */

/*
 * routes.h: from method and path to a handler.
 */
#ifndef ROUTES_H
#define ROUTES_H

#include "exchange.h"

/* Answers the request, or defers the answer, as server.h describes it. */
void routes_dispatch(Request *request);

/* What remains to be done when the answer of a request is known. */
void routes_finish(Request *request);

#endif /* ROUTES_H */

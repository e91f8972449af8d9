/*
 * request.h: opens and closes a request.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>

#include "exchange.h"
#include "gateway.h"

/* Fills in what the head of the request says; reads nothing of the body. */
void
request_open(Request *request, Gateway *gateway, struct mg_connection *conn);

/*
 * Makes the request independent of civetweb, which reads the next one into the
 * same memory. Only what the answer and the log need is kept; the body is
 * freed.
 */
void request_detach(Request *request);

/* Frees the request's body and its answer. */
void request_close(Request *request);

/*
 * What is wrong with the head of the request, for a 400: another reader could
 * see the request end elsewhere, or the standard forbids to answer it. Returns
 * NULL if nothing is wrong.
 */
const char *request_find_fault(const Request *request);

/* May the peer be believed what it says about the client? */
bool request_trusts_peer(const Request *request);

#endif /* REQUEST_H */

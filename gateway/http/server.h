/*
 * server.h: the HTTP listener and its threads.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "exchange.h"
#include "gateway.h"
#include "text.h"

typedef struct Server Server;

typedef struct RequestHandler
{
	/* Answers a request: sets request->reply, or defers the answer. */
	void (*handle)(Request *request);

	/* Called when a deferred answer is set. */
	void (*finish)(Request *request);
} RequestHandler;

/*
 * Listens; from now on each request is passed to the handler and its answer is
 * sent. On failure returns NULL and error says why.
 */
Server *server_start(Gateway *gateway, RequestHandler handler, Text *error);

/*
 * A handler may return before the answer is known, if server_can_defer. It
 * calls server_defer, after which the request has no body and no headers, and
 * passes it to another thread. That thread sets the answer and calls
 * server_answer, which sends it and ends the request. Meanwhile the thread of
 * the connection waits for the next request: it is woken up once for a request
 * and not twice.
 */
bool server_can_defer(const Request *request);
void server_defer(Request *request);
void server_answer(Request *request);

/* From now on new requests are answered with 503. */
void server_refuse(Server *server);

/* Waits until no request is in flight; returns false after wait_us. */
bool server_drain(Server *server, int64_t wait_us);

/* Closes the port and all connections. No request may be in flight. */
void server_stop(Server *server);

#endif /* SERVER_H */

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

/* Answers a request: sets request->reply. */
typedef void (*RequestHandler)(Request *request);

/*
 * Listens; from now on each request is passed to the handler and its answer is
 * sent. On failure returns NULL and error says why.
 */
Server *server_start(Gateway *gateway, RequestHandler handler, Text *error);

/* From now on new requests are answered with 503. */
void server_refuse(Server *server);

/* Waits until no request is in flight; returns false after wait_us. */
bool server_drain(Server *server, int64_t wait_us);

/* Closes the port and all connections. No request may be in flight. */
void server_stop(Server *server);

#endif /* SERVER_H */

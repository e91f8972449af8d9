/*
 * connections.h: the open HTTP connections, how many there may be, and how long
 * a client may take.
 */
#ifndef CONNECTIONS_H
#define CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "exchange.h"
#include "log.h"
#include "metrics.h"

struct mg_connection;

typedef struct Connections Connections;
typedef struct Connection Connection;

/*
 * Starts the thread that enforces the time limits. "files" is the number of
 * files that the process may open. Returns NULL if out of memory or threads.
 */
Connections *connections_create(const Config *config,
								Log *log,
								Metrics *metrics,
								long files);

/* Ends the thread. No connection may be open. */
void connections_free(Connections *connections);

/*
 * Before civetweb is stopped: accepts no connection and reads no request any
 * more, so that none of its threads waits for one.
 */
void connections_end_input(Connections *connections);

/* Adds an open connection. Returns NULL if out of memory. */
Connection *connections_add(Connections *connections,
							const struct mg_connection *conn);

/* Call it before civetweb closes the socket. */
void connections_remove(Connection *connection);

/* True if the connection exceeds HTTP_MAX_CONNECTIONS: answer 503. */
bool connection_is_refused(const Connection *connection);

/*
 * The requests of a connection are answered one after the other. Waits for the
 * end of the previous one and returns memory for the next, until
 * connection_end, which another thread may call.
 */
Request *connection_begin(Connection *connection);
void connection_end(Connection *connection);

/*
 * Writes a complete answer without waiting, from any thread between
 * connection_begin and connection_end. If that is not possible, because the
 * client does not read or the text is incomplete, the connection is shut down.
 */
bool connection_can_send(Connection *connection);
void connection_send(Connection *connection, const Text *answer);

/*
 * Gives the connection to the caller, who owns the socket that is returned.
 * civetweb then closes the connection for itself and its thread is free.
 * Returns -1 if that is not possible.
 */
int connection_give_away(Connection *connection);

/*
 * While the limit is reached, connections that are not protected are closed.
 * A request protects its connection; one without a required key takes the
 * protection away again.
 */
void connection_protect(Connection *connection, unsigned peer_port);
void connection_expose(Connection *connection);

/*
 * Until connection_unwatch the client may take that long to send, or to
 * receive what we send; then that direction is shut down. Calls are not
 * nested. These four do nothing for NULL.
 */
typedef enum WatchKind
{
	WATCH_READING,
	WATCH_WRITING
} WatchKind;

void connection_watch(Connection *connection, WatchKind kind, int64_t limit_us);

/*
 * The client has sent that much. While the limit of connections is reached,
 * reading ends a second after connection_watch, and later only by as much as a
 * client needs that sends 64 kB per second.
 */
void connection_advance(Connection *connection, size_t bytes);

/* Returns true if the time limit was exceeded. */
bool connection_unwatch(Connection *connection);

/*
 * Reads and drops what a refused client still sends, for a bounded time, so
 * that it gets the answer: closing with unread data would reset the
 * connection and discard the answer.
 */
void connection_linger(Connection *connection);

#endif /* CONNECTIONS_H */

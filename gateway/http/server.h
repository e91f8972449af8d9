/*
 * server.h: civetweb's threads, its connections and their time limits.
 */
#ifndef SERVER_H
#define SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct Gateway;
struct mg_connection;

typedef struct Server Server;

/* Listens and answers from now on. On failure error says why. */
Server *server_start(struct Gateway *gateway, Text *error);

/* Requests that come from now on are refused. */
void server_refuse(Server *server);

/* Waits until those in flight are answered; false if it takes longer. */
bool server_drain(Server *server, int64_t wait_us);

/* Closes the port and all connections. Nothing may be in flight. */
void server_stop(Server *server);

/*
 * From now until server_unwatch the client may take that long to send or to
 * take what we send; then that direction is cut off. Never nested.
 */
typedef enum WatchKind
{
	WATCH_READING,
	WATCH_WRITING
} WatchKind;

void server_watch(struct mg_connection *conn, WatchKind kind, int64_t limit_us);

/* Returns true if the time was over. */
bool server_unwatch(struct mg_connection *conn);

#endif /* SERVER_H */

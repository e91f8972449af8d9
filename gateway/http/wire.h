/*
 * wire.h: lets civetweb read requests through stream.c.
 *
 * A thread of civetweb serves one connection at a time. It calls wire_open and
 * wire_close for it. In between, what it reads passes through stream.c, except
 * between wire_pause and wire_resume, when the thread also reads from others:
 * the database, or the socket of a connection that is to be closed.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>

void wire_open(bool tls);
void wire_close(void);
void wire_pause(void);
void wire_resume(void);

/*
 * Another thread has a duplicate of the connection's socket: civetweb closes
 * its own, and the connection stays open.
 */
void wire_give_away(void);

/* Call it once for each request, before its body is read. */
void wire_next_request(void);

/* Has the last request been read to its end, with all that belongs to it? */
bool wire_is_at_end(void);

#endif /* WIRE_H */

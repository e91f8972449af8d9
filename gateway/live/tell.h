/*
 * tell.h: hands the changes that the database returned to listeners.
 */
#ifndef TELL_H
#define TELL_H

#include <libpq-fe.h>

#include "live/listener.h"

/* Tells the changes in rows of msgstore._live_feed() to all that have joined,
 * or to one listener. */
void tell_all(Listener *listeners, const PGresult *rows);
void tell_one(Listener *listener, const PGresult *rows);

/* Sends the answer and ends. Later changes follow that position. */
void tell_answer(Listener *listener, const char *id, const Text *list);

/* The position after all changes, and the count for msgstore._live_wait(). */
const char *tell_position(const PGresult *rows);
const char *tell_count(const PGresult *rows);

#endif /* TELL_H */

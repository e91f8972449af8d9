/*
 * responses/turn.h: the conversation of a response, and its turn there.
 */
#ifndef RESPONSES_TURN_H
#define RESPONSES_TURN_H

#include "responses/response.h"

/* The ID of the conversation that the response is part of, or NULL. */
extern char *turn_conversation(const Response *response);

/*
 * For a response that is about to be inserted: takes the turn, and gives it
 * back at once if the response has ended. Raises MS404 for an unknown
 * conversation, MS409 if another response has the turn.
 */
extern void turn_begin(const Response *response);

/*
 * For a response that was active before it was changed: ends the turn if it
 * no longer is, otherwise notes that it is alive. Raises MS409 if the turn was
 * lost.
 */
extern void turn_follow(const Response *response);

#endif /* RESPONSES_TURN_H */

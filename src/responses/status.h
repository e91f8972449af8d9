/*
 * responses/status.h: the status of a response, and how it may change.
 */
#ifndef RESPONSES_STATUS_H
#define RESPONSES_STATUS_H

#include "responses/response.h"

extern bool responses_status_exists(const char *status);

/* Raises MS400 for an unknown status. */
extern void responses_check_status(const char *status);

/* Raises MS400 unless a response may move from one status to the other. */
extern void responses_check_move(const char *from, const char *to);
extern void responses_move(Response *response, const char *to);

/* Is the response queued or in progress, and not deleted? */
extern bool responses_are_active(const Response *response);

/* Notes the time at which a response is first stored as finished. */
extern void responses_note_end(Response *response);

#endif /* RESPONSES_STATUS_H */

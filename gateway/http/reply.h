/*
 * reply.h: answers: headers, error bodies, and which SQLSTATE is which status.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>

#include "db/pool.h"
#include "http/request.h"

/* 202 with the id. */
void reply_accepted(Request *request, const char *id);

/* Takes over the body. */
void
reply_body(Request *request, int status, const char *content_type, Text *body);

/* An error of the gateway's own; the code follows from the status. */
void reply_error(Request *request, int status, const char *message);

/* 401 and 403, each with the header that says what was expected. */
void reply_unauthorized(Request *request, const char *message);
void reply_forbidden(Request *request, const char *message);

/* 503 that asks to come again after that many seconds. */
void reply_unavailable(Request *request, const char *message, long seconds);

/* 429 */
void
reply_limited(Request *request, const char *message, long limit, long reset);

/*
 * An error of the database. Messages of class MS are for the client, others
 * for the log. If the content of the request alone can have caused it, what
 * text cannot hold is the client's fault and not ours.
 */
void reply_sqlstate(Request *request,
					const char *sqlstate,
					const char *message,
					const char *detail,
					bool content);

/* The same from a result. */
void
reply_query_error(Request *request, const QueryOutcome *outcome, bool content);

/* Writes the answer to the client. */
void reply_send(Request *request);

#endif /* REPLY_H */

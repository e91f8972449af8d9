/*
 * reply.h: answers: headers, error bodies, and the status of each SQLSTATE.
 *
 * All but reply_send only fill in request->reply, replacing what was there.
 */
#ifndef REPLY_H
#define REPLY_H

#include <stdbool.h>

#include "exchange.h"

/* 202 with the id; "duplicate" says that nothing was stored. */
void reply_accepted(Request *request, const char *id, bool duplicate);

/* Takes over the body. content_type NULL: JSON. */
void
reply_body(Request *request, int status, const char *content_type, Text *body);

/* An error that the gateway found; the status determines the code. */
void reply_error(Request *request, int status, const char *message);

/* The same with a sentence that says what was expected; detail may be NULL. */
void reply_error_detail(Request *request,
						int status,
						const char *message,
						const char *detail);

/* 413 that names the limit of a body, in bytes. */
void reply_too_large(Request *request, size_t limit);

/* 401 and 403, each with a WWW-Authenticate header. */
void reply_unauthorized(Request *request, const char *message);
void reply_forbidden(Request *request, const char *message);

/* 503 with Retry-After in seconds. */
void reply_unavailable(Request *request, const char *message, long seconds);

/* 429 with Retry-After and the rate limit's headers. */
void
reply_limited(Request *request, const char *message, long limit, long reset);

/* 503: body or answer would exceed HTTP_MAX_BUFFER_BYTES. */
void reply_too_much(Request *request);

/*
 * An error of the database. Messages of class MS are sent to the client,
 * others only to the log. "content" says that only this request's content can
 * have caused the error; then a value that the server cannot store is 400,
 * otherwise 500.
 */
void reply_sqlstate(Request *request,
					const char *sqlstate,
					const char *message,
					const char *detail,
					bool content);

/* The words of a status that the gateway answers with. */
const char *reply_phrase(int status);

/*
 * The head of an answer of 200 that somebody else sends, without a length and
 * the blank line at its end. The connection is closed after it.
 */
void reply_head(Request *request, const char *content_type, Text *out);

/* Writes the answer to the client. */
void reply_send(Request *request);

#endif /* REPLY_H */

/*
 * backend.h: the targets that run inside a server process.
 *
 * An input is run in a memory context of its own, which is reset after it. An
 * error that a target lets out is a broken promise.
 */
#ifndef BACKEND_H
#define BACKEND_H

#include "fuzz.h"
#include "utils/jsonb.h"

typedef void (*BackendTarget)(const char *data, size_t size);

extern void backend_form(const char *data, size_t size);
extern void backend_json(const char *data, size_t size);
extern void backend_payload(const char *data, size_t size);
extern void backend_redaction(const char *data, size_t size);
extern void backend_timestamp(const char *data, size_t size);

/*
 * What the server's own parser makes of a text, NULL if it refuses it. The
 * result has a piece of malloc to itself, so that reading past its end is
 * seen; it is the caller's to free().
 */
extern Jsonb *backend_parse_json(const char *text, size_t size);

/* The text as SQL functions take it, if it can be one in UTF-8. */
extern char *backend_take_text(const char *data, size_t size);

/* The first line without its end; data and size are what is behind it. */
extern char *backend_take_line(const char **data, size_t *size);

#endif /* BACKEND_H */

/*
 * headers.h: what a request's headers say.
 */
#ifndef HEADERS_H
#define HEADERS_H

#include <stdbool.h>

#include "exchange.h"

/* A header's value, or NULL. */
const char *request_header(const Request *request, const char *name);

/*
 * The name of a header that may have one line only and has several, or NULL:
 * the first line would silently decide against the others.
 */
const char *request_find_repeated(const Request *request);

bool request_is_head(const Request *request);

/* Is Content-Type application/json, or application/ with a suffix +json? */
bool request_has_json_type(const Request *request);

/*
 * How much the Accept header wants that media type: 0 (not at all) to 1000.
 * Sets exact if the type is named, not only matched by a wildcard.
 */
int request_accepts(const Request *request, const char *type, bool *exact);

#endif /* HEADERS_H */

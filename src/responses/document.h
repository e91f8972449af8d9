/*
 * responses/document.h: reads documents and patches.
 *
 * Invalid input raises MS400, or MS413 if it is too large, and names the field.
 */
#ifndef RESPONSES_DOCUMENT_H
#define RESPONSES_DOCUMENT_H

#include "responses/response.h"

extern Response *responses_read_document(Jsonb *document);

/* Reads a document that was checked when it was saved. */
extern Response *responses_take_document(Jsonb *document);
extern void responses_apply_patch(Response *response, Jsonb *patch);
extern void responses_check_size(Jsonb *document);

/* About the number of bytes that the document takes when it is printed. */
extern Size responses_measure(Jsonb *document);

/* Does the document have this boolean field, with this value? */
extern bool
responses_says(const Response *response, const char *name, bool what);

#endif /* RESPONSES_DOCUMENT_H */

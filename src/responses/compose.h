/*
 * responses/compose.h: puts the document of a response together.
 */
#ifndef RESPONSES_COMPOSE_H
#define RESPONSES_COMPOSE_H

#include "responses/response.h"
#include "server/jsonb_state.h"

extern const char *const responses_usage_names[RESPONSES_USAGES];

extern Jsonb *responses_make_document(const Response *response);

/* Pushes the extensions, except those that the document has, too, or NULL. */
extern void responses_push_extensions(JsonbInState *state,
									  const Response *response,
									  Jsonb *document);

#endif /* RESPONSES_COMPOSE_H */

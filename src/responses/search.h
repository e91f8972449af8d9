/*
 * responses/search.h: notes which responses are to be indexed.
 */
#ifndef RESPONSES_SEARCH_H
#define RESPONSES_SEARCH_H

#include "responses/response.h"

/*
 * Notes a response of the durable store that was stored or changed. Returns
 * whether there is something to index.
 */
extern bool search_note(const Response *response);

#endif /* RESPONSES_SEARCH_H */

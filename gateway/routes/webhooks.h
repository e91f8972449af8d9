/*
 * webhooks.h: stores an inbound event.
 */
#ifndef WEBHOOKS_H
#define WEBHOOKS_H

#include <stdbool.h>

#include "exchange.h"

/*
 * Stores the body as an inbound event of that channel (NULL: the body names
 * none) and answers. "mock" marks it as the mock provider's, which needs no
 * provider id.
 */
void store_inbound(Request *request, const char *channel, bool mock);

/* Counts the answer of a webhook by its reason if it is a refusal. */
void webhook_count_refusal(const Request *request);

#endif /* WEBHOOKS_H */

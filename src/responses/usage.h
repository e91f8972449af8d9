/*
 * responses/usage.h: what ended responses add to the usage of their tenant,
 * model and day.
 */
#ifndef RESPONSES_USAGE_H
#define RESPONSES_USAGE_H

#include "responses/response.h"

/* What a response adds: nothing before it has ended, or without tokens. */
typedef struct Usage
{
	int64 responses; /* 0 or 1 */
	int64 tokens[RESPONSES_USAGES];
} Usage;

extern void usage_read(const Response *response, Usage *usage);

/*
 * Adds the difference between what the stored response adds now and what it
 * added before it was changed (NULL: it is new). Returns whether there is one.
 */
extern bool usage_add(const Response *response, const Usage *before);

#endif /* RESPONSES_USAGE_H */

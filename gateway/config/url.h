/*
 * url.h: DATABASE_URL: the pool's parameters are ours, the rest is libpq's.
 */
#ifndef URL_H
#define URL_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/* Splits the URL into conninfo and the pool's settings. */
bool config_read_url(Config *config, Text *error);

/* Adds the parts of the URL that are not secret, as a JSON string. */
void config_describe_url(const Config *config, Text *out);

#endif /* URL_H */

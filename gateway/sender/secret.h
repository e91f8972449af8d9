/*
 * secret.h: secrets of accounts that are not in the database.
 */
#ifndef SECRET_H
#define SECRET_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/*
 * Adds the secret with that name: the first line of its file, else the
 * environment variable. Returns false if there is neither.
 */
bool secret_find(const Config *config, const char *name, Text *secret);

/* Overwrites it before it is freed. */
void secret_free(Text *secret);

#endif /* SECRET_H */

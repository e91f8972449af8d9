/*
 * derive.h: checks settings against each other, and derives what follows from
 * them.
 */
#ifndef DERIVE_H
#define DERIVE_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/* All options are set. On failure error says which setting is wrong. */
bool config_derive(Config *config, Text *error);

/* Whether a body fits into the memory for bodies and answers. */
bool config_check_sizes(const Config *config, Text *error);

#endif /* DERIVE_H */

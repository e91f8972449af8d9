/*
 * load.h: reads the settings from flags, the environment and .env.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/*
 * A flag overrides the environment, and the environment overrides .env. On
 * failure error says which setting is wrong. The strings belong to the Config.
 */
bool config_load(Config *config, int argc, char **argv, Text *error);
void config_free(Config *config);

#endif /* LOAD_H */

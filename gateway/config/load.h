/*
 * load.h: reads the settings from flags, the environment and a file.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/*
 * A flag overrides the environment, and the environment overrides the file:
 * that of --config, else .env. On failure error says which setting is wrong.
 * The strings belong to the Config.
 *
 * Other variables of the file, which are for libpq, are added to the
 * environment. That is not safe with threads, so it is not done if "running",
 * the settings that are in use, is not NULL.
 */
bool config_load(Config *config,
				 int argc,
				 char **argv,
				 const Config *running,
				 Text *error);
void config_free(Config *config);

#endif /* LOAD_H */

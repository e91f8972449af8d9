/*
 * reload.h: new settings and a new certificate for the running gateway.
 */
#ifndef RELOAD_H
#define RELOAD_H

#include "config/config.h"
#include "gateway.h"

/*
 * Reads the settings and the certificate again, with the arguments that the
 * gateway was started with, and applies all that can change while it runs.
 * Returns the settings in use: new ones, or "running" if nothing changed or
 * something is wrong.
 */
Config *reload(Gateway *gateway, Config *running, int argc, char **argv);

/* Frees the settings and those that they replaced, except "first". */
void reload_free(Config *latest, const Config *first);

#endif /* RELOAD_H */

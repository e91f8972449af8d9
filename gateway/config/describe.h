/*
 * describe.h: shows the settings: as --help and in the start-up log line.
 */
#ifndef DESCRIBE_H
#define DESCRIBE_H

#include "config/config.h"
#include "config/options.h"
#include "text.h"

/* Prints what --help or --version asks for. Returns the exit status. */
int config_answer(const Config *config);

/*
 * Members of the start-up log line: every setting with its value and source.
 * Of the database URL only the parts that are not secret are shown.
 */
void config_describe(const Config *config, Text *out);

/* Adds one of these members, behind a comma if it is not the first. */
void
config_describe_option(const Config *config, const Option *option, Text *out);

#endif /* DESCRIBE_H */

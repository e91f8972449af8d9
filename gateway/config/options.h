/*
 * options.h: the table of settings: flag, environment variable, type, default
 * and help.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "text.h"

typedef enum OptionKind
{
	OPTION_TEXT,
	OPTION_NUMBER,
	OPTION_OPTIONAL, /* a number, or unset (-1) */
	OPTION_SWITCH,	 /* on or off; as a flag: --name or --no-name */
	OPTION_CHOICE	 /* on, off or a text; as a flag: --name=TEXT as well */
} OptionKind;

typedef struct Option
{
	const char *flag;
	const char *env;
	OptionKind kind;
	const char *fallback;
	long min;
	long max;
	size_t offset; /* of the setting in Config */
	bool reloads;  /* SIGHUP applies a new value */
	const char *help;
} Option;

/* The offset and "reloads" of a row of the table. */
#define SETTING(member) offsetof(Config, member), false
#define RELOADABLE(member) offsetof(Config, member), true

/* Each program has its own table, and what --help says about the program. */
extern const Option options[];
extern const size_t option_count;
extern const char program_name[];
extern const char program_help[];
extern const char check_help[];

/* The option of a flag "--name" or "--no-name", or NULL. */
const Option *option_find_flag(const char *name, size_t length, bool *negated);

/*
 * Sets an option to a value given under that name. Returns false if the value
 * is invalid; error says why.
 */
bool option_set(Config *config,
				const Option *option,
				const char *name,
				const char *value,
				const char *source,
				Text *error);

/* Whether its value is kept as a text. */
bool option_is_text(const Option *option);

/* Whether it can be given as a flag without a value. */
bool option_is_switch(const Option *option);

/* Where an option's value is in the Config. */
void *option_value(const Config *config, const Option *option);

/* A whole number in decimal, within the bounds. */
bool option_parse_number(const char *value, long min, long max, long *number);

/* true, on, yes or 1; false, off, no or 0; in any case. */
bool option_parse_switch(const char *value, bool *on);

#endif /* OPTIONS_H */

/*
 * option.c: finds, parses and sets a setting of the table of options.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/options.h"

static void explain_refusal(const Option *option,
							const char *name,
							const char *value,
							Text *error);

const Option *
option_find_flag(const char *name, size_t length, bool *negated)
{
	if (length < 3 || strncmp(name, "--", 2) != 0)
		return NULL;
	name += 2;
	length -= 2;
	for (size_t i = 0; i < option_count; i++)
	{
		const char *flag = options[i].flag;

		if (strlen(flag) == length && memcmp(flag, name, length) == 0)
			return &options[i];
		if (option_is_switch(&options[i]) && strlen(flag) + 3 == length &&
			memcmp(name, "no-", 3) == 0 &&
			memcmp(flag, name + 3, length - 3) == 0)
		{
			*negated = true;
			return &options[i];
		}
	}
	return NULL;
}

bool
option_set(Config *config,
		   const Option *option,
		   const char *name,
		   const char *value,
		   const char *source,
		   Text *error)
{
	void *target = option_value(config, option);
	bool valid = true;

	config->source[option - options] = source;
	switch (option->kind)
	{
		case OPTION_TEXT:
		case OPTION_CHOICE:
			free(*(char **) target);
			*(char **) target = strdup(value);
			valid = *(char **) target != NULL;
			break;
		case OPTION_SWITCH:
			valid = option_parse_switch(value, target);
			break;
		case OPTION_OPTIONAL:
			*(long *) target = -1;
			valid =
				value[0] == '\0' ||
				option_parse_number(value, option->min, option->max, target);
			break;
		case OPTION_NUMBER:
			valid =
				option_parse_number(value, option->min, option->max, target);
			break;
	}
	if (!valid)
		explain_refusal(option, name, value, error);
	return valid;
}

bool
option_is_text(const Option *option)
{
	return option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE;
}

bool
option_is_switch(const Option *option)
{
	return option->kind == OPTION_SWITCH || option->kind == OPTION_CHOICE;
}

void *
option_value(const Config *config, const Option *option)
{
	return (char *) config + option->offset;
}

bool
option_parse_number(const char *value, long min, long max, long *number)
{
	char *end;

	if (value[0] < '0' || value[0] > '9')
		return false;
	errno = 0;
	*number = strtol(value, &end, 10);
	return errno == 0 && *end == '\0' && *number >= min && *number <= max;
}

bool
option_parse_switch(const char *value, bool *on)
{
	static const char *const names[][2] = {{"true", "false"},
										   {"on", "off"},
										   {"yes", "no"},
										   {"1", "0"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		for (int no = 0; no < 2; no++)
		{
			if (strcasecmp(value, names[i][no]) == 0)
			{
				*on = no == 0;
				return true;
			}
		}
	}
	return false;
}

static void
explain_refusal(const Option *option,
				const char *name,
				const char *value,
				Text *error)
{
	text_addf(error,
			  "invalid value \"%s\" for %s (%s): ",
			  value,
			  name,
			  option->env);
	if (option->kind == OPTION_SWITCH)
		text_add_string(error, "must be true or false");
	else if (option_is_text(option))
		text_add_string(error, "out of memory");
	else
		text_addf(error,
				  "must be a number from %ld to %ld",
				  option->min,
				  option->max);
}

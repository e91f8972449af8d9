/*
 * load.c: reads the settings from flags, the environment and .env.
 *
 * An invalid value ends the start: running with other limits than the operator
 * configured would be worse than not running.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/derive.h"
#include "config/load.h"
#include "config/options.h"

#define DOTENV_MAX_BYTES 65536

static bool read_flags(Config *config, int argc, char **argv, Text *error);
static bool read_environment(Config *config, Text *error);
static void read_dotenv(Config *config);
static void read_dotenv_line(Config *config, char *line);

bool
config_load(Config *config, int argc, char **argv, Text *error)
{
	memset(config, 0, sizeof(*config));
	read_dotenv(config);
	if (!read_flags(config, argc, argv, error))
		return false;
	if (config->help)
		return true;
	return read_environment(config, error) && config_derive(config, error);
}

void
config_free(Config *config)
{
	for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
	{
		if (options[i].kind == OPTION_TEXT)
			free(*(char **) option_value(config, &options[i]));
	}
	free(config->conninfo);
}

static bool
read_flags(Config *config, int argc, char **argv, Text *error)
{
	for (int i = 1; i < argc; i++)
	{
		const char *name = argv[i];
		const char *value = strchr(name, '=');
		size_t length = value != NULL ? (size_t) (value - name) : strlen(name);
		bool negated = false;
		const Option *option;

		if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		{
			config->help = true;
			return true;
		}
		option = option_find_flag(name, length, &negated);
		if (option == NULL)
		{
			text_addf(error, "unknown option \"%s\"; try --help", name);
			return false;
		}
		if (value != NULL)
			value++;
		else if (option->kind == OPTION_SWITCH)
			value = negated ? "false" : "true";
		else if (++i < argc)
			value = argv[i];
		else
		{
			text_addf(error, "option \"%s\" needs a value", name);
			return false;
		}
		if (!option_set(config, option, name, value, "flag", error))
			return false;
	}
	return true;
}

/* Options without a flag get their value from the environment or default. */
static bool
read_environment(Config *config, Text *error)
{
	for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
	{
		const Option *option = &options[i];
		const char *source = config->source[i];
		const char *value = getenv(option->env);

		if (source != NULL && strcmp(source, "flag") == 0)
			continue;
		if (value == NULL || value[0] == '\0')
		{
			value = option->fallback;
			source = "default";
		}
		else if (source == NULL)
			source = "environment";
		if (!option_set(config, option, option->env, value, source, error))
			return false;
	}
	return true;
}

/*
 * Adds the file's variables to the environment unless they are set there, so
 * that the file may also contain libpq's (PGPASSWORD and others).
 */
static void
read_dotenv(Config *config)
{
	FILE *file = fopen(".env", "r");
	char *content;
	char *rest;
	char *line;
	size_t length;

	if (file == NULL)
		return;
	content = malloc(DOTENV_MAX_BYTES + 1);
	if (content != NULL)
	{
		length = fread(content, 1, DOTENV_MAX_BYTES, file);
		content[length] = '\0';
		rest = content;
		while ((line = strsep(&rest, "\r\n")) != NULL)
			read_dotenv_line(config, line);
		free(content);
	}
	fclose(file);
}

static void
read_dotenv_line(Config *config, char *line)
{
	char *value = strchr(line, '=');
	char *end;

	line += strspn(line, " \t");
	if (strncmp(line, "export ", 7) == 0)
		line += 7;
	if (*line == '#' || value == NULL || value <= line)
		return;
	*value++ = '\0';
	line[strcspn(line, " \t")] = '\0';
	value += strspn(value, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	if (end - value >= 2 && (*value == '"' || *value == '\'') &&
		end[-1] == *value)
	{
		end[-1] = '\0';
		value++;
	}
	if (getenv(line) != NULL || setenv(line, value, 0) != 0)
		return;
	for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
	{
		if (strcmp(options[i].env, line) == 0)
			config->source[i] = ".env";
	}
}

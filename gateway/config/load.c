/*
 * load.c: reads the settings from flags, the environment and a file.
 *
 * An invalid value ends the start: running with other limits than the operator
 * configured would be worse than not running. The environment overrides the
 * file, because it is set for one start and the file for all of them. A file
 * .env is a convenience for development, in which lines may be anything; of one
 * that was asked for, every line counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/derive.h"
#include "config/file.h"
#include "config/load.h"
#include "config/options.h"

#define DOTENV ".env"

static bool read_flags(Config *config, int argc, char **argv, Text *error);
static bool set_action(Config *config, const char *name);
static bool read_file(Config *config, FileSettings *settings, Text *error);
static bool
set_options(Config *config, const FileSettings *settings, Text *error);
static bool derive_log_level(Config *config, Text *error);
static void note_others(Config *config, const FileSettings *settings);
static void export_others(const FileSettings *settings);
static bool is_option(const char *name);

bool
config_load(Config *config,
			int argc,
			char **argv,
			const Config *running,
			Text *error)
{
	FileSettings settings = {0};
	bool valid;

	memset(config, 0, sizeof(*config));
	if (!read_flags(config, argc, argv, error))
		return false;
	if (config->action == CONFIG_HELP || config->action == CONFIG_VERSION)
		return true;
	valid = read_file(config, &settings, error);
	if (valid)
	{
		note_others(config, &settings);
		if (running == NULL)
			export_others(&settings);
		valid = set_options(config, &settings, error) &&
				derive_log_level(config, error) && config_derive(config, error);
	}
	file_free(&settings);
	return valid;
}

void
config_free(Config *config)
{
	for (size_t i = 0; i < option_count; i++)
	{
		if (option_is_text(&options[i]))
			free(*(char **) option_value(config, &options[i]));
	}
	free(config->proxies.list);
	free(config->address);
	free(config->conninfo);
	text_free(&config->others);
	text_free(&config->unknown);
}

static bool
read_flags(Config *config, int argc, char **argv, Text *error)
{
	for (int i = 1; i < argc; i++)
	{
		const char *name = argv[i];
		size_t length = strcspn(name, "=");
		bool negated = false;
		const Option *option = option_find_flag(name, length, &negated);
		const char *value = negated ? "false" : "true";
		bool file = length == 8 && strncmp(name, "--config", 8) == 0;

		if (set_action(config, name))
		{
			if (config->action != CONFIG_CHECK)
				return true;
			continue;
		}
		if (option == NULL && !file)
		{
			text_addf(error, "unknown option \"%s\"; try --help", name);
			return false;
		}
		if (name[length] == '=')
			value = name + length + 1;
		else if (file || !option_is_switch(option))
			value = argv[++i]; /* the list ends with NULL */
		if (value == NULL)
		{
			text_addf(error, "option \"%s\" needs a value", name);
			return false;
		}
		if (file)
			config->file = value;
		else if (!option_set(config, option, name, value, "flag", error))
			return false;
	}
	return true;
}

/* Returns false if the flag asks for no action. */
static bool
set_action(Config *config, const char *name)
{
	static const struct
	{
		const char *name;
		ConfigAction action;
	} actions[] = {{"--check", CONFIG_CHECK},
				   {"--help", CONFIG_HELP},
				   {"-h", CONFIG_HELP},
				   {"--version", CONFIG_VERSION},
				   {"-V", CONFIG_VERSION}};

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
	{
		if (strcmp(name, actions[i].name) == 0)
		{
			config->action = actions[i].action;
			return true;
		}
	}
	return false;
}

static bool
read_file(Config *config, FileSettings *settings, Text *error)
{
	if (config->file != NULL)
		return file_read(settings, config->file, true, error);
	return access(DOTENV, R_OK) != 0 ||
		   file_read(settings, DOTENV, false, error);
}

/* Options without a flag. */
static bool
set_options(Config *config, const FileSettings *settings, Text *error)
{
	const char *file = config->file != NULL ? config->file : DOTENV;

	for (size_t i = 0; i < option_count; i++)
	{
		const Option *option = &options[i];
		const char *value = getenv(option->env);
		const char *source = "environment";
		char name[1024];

		if (config->source[i] != NULL)
			continue;
		snprintf(name, sizeof(name), "%s", option->env);
		if (value == NULL && (value = file_find(settings, option->env)) != NULL)
		{
			source = config->file != NULL ? "file" : DOTENV;
			snprintf(name, sizeof(name), "%s in \"%s\"", option->env, file);
		}
		if (value == NULL || value[0] == '\0')
		{
			value = option->fallback;
			source = "default";
		}
		if (!option_set(config, option, name, value, source, error))
			return false;
	}
	return true;
}

static bool
derive_log_level(Config *config, Text *error)
{
	if (log_parse_level(config->log_level_name, &config->log_level))
		return true;
	text_addf(
		error,
		"invalid value \"%s\" for LOG_LEVEL: must be debug, info, warn or "
		"error",
		config->log_level_name);
	return false;
}

/* A variable that is neither a setting nor libpq's is probably misspelled. */
static void
note_others(Config *config, const FileSettings *settings)
{
	for (size_t i = 0; i < settings->count; i++)
	{
		const FileSetting *setting = &settings->list[i];

		if (is_option(setting->name))
			continue;
		text_addf(&config->others, "%s=%s\n", setting->name, setting->value);
		if (config->file != NULL && strncmp(setting->name, "PG", 2) != 0)
			text_addf(&config->unknown, "%s\n", setting->name);
	}
}

static void
export_others(const FileSettings *settings)
{
	for (size_t i = settings->count; i > 0; i--)
	{
		const FileSetting *setting = &settings->list[i - 1];

		if (!is_option(setting->name) && setting->name[0] != '\0')
			setenv(setting->name, setting->value, 0);
	}
}

static bool
is_option(const char *name)
{
	for (size_t i = 0; i < option_count; i++)
	{
		if (strcmp(options[i].env, name) == 0)
			return true;
	}
	return false;
}

/*
 * describe.c: shows the settings: as --help and in the start-up log line.
 */
#include <stdio.h>
#include <string.h>

#include "config/describe.h"
#include "config/options.h"
#include "config/url.h"

static void add_help(Text *out);

int
config_answer(const Config *config)
{
	Text text = {0};

	if (config->action == CONFIG_HELP)
		add_help(&text);
	else
		text_addf(&text, "%s " GATEWAY_VERSION "\n", program_name);
	fputs(text.data != NULL ? text.data : "", stdout);
	text_free(&text);
	return 0;
}

static void
add_help(Text *out)
{
	text_addf(
		out,
		"%s"
		"\n"
		"Usage: %s [OPTION]...\n"
		"\n"
		"A flag overrides the environment, and the environment overrides the\n"
		"file of --config, or else a file .env in the working directory.\n"
		"SIGHUP reads the file again and applies the settings marked with\n"
		"\"reloads\".\n"
		"\n"
		"  --config FILE\n"
		"      read settings from FILE: lines of NAME=VALUE, with the names and\n"
		"      in the syntax of the environment files of systemd\n"
		"  --check\n"
		"      %s\n"
		"  --version\n"
		"      show the version\n"
		"  --help\n"
		"      show this help\n"
		"\n",
		program_help,
		program_name,
		check_help);
	for (size_t i = 0; i < option_count; i++)
	{
		const Option *option = &options[i];

		text_addf(out,
				  option->kind == OPTION_SWITCH	  ? "  --[no-]%s\n"
				  : option->kind == OPTION_CHOICE ? "  --[no-]%s[=VALUE]\n"
												  : "  --%s VALUE\n",
				  option->flag);
		text_addf(out, "      %s\n", option->help);
		text_addf(out,
				  "      environment variable %s, default %s%s\n",
				  option->env,
				  option->fallback[0] != '\0' ? option->fallback : "off",
				  option->reloads ? ", reloads" : "");
	}
}

void
config_describe(const Config *config, Text *out)
{
	Text members = {0};

	for (size_t i = 0; i < option_count; i++)
		config_describe_option(config, &options[i], &members);
	text_add_string(out, "\"settings\":{");
	text_add(out, members.data, members.length);
	text_add_string(out, "}");
	out->failed = out->failed || members.failed;
	text_free(&members);
}

void
config_describe_option(const Config *config, const Option *option, Text *out)
{
	const void *value = option_value(config, option);
	const char *source = config->source[option - options];
	bool on;

	text_add_string(out, out->length > 0 ? "," : "");
	text_addf(out, "\"%s\":{\"value\":", option->env);
	if (option->offset == offsetof(Config, database_url))
		config_describe_url(config, out);
	else if (option->kind == OPTION_CHOICE &&
			 option_parse_switch(*(char *const *) value, &on))
		text_add_string(out, on ? "true" : "false");
	else if (option_is_text(option))
		text_add_json(out,
					  *(char *const *) value,
					  strlen(*(char *const *) value));
	else if (option->kind == OPTION_SWITCH)
		text_add_string(out, *(const bool *) value ? "true" : "false");
	else if (*(const long *) value < 0)
		text_add_string(out, "null");
	else
		text_addf(out, "%ld", *(const long *) value);
	text_addf(out, ",\"source\":\"%s\"}", source);
}

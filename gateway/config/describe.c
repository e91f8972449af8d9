/*
 * describe.c: shows the settings: as --help and in the start-up log line.
 */
#include <string.h>

#include "config/describe.h"
#include "config/options.h"
#include "config/url.h"

void
config_help(Text *out)
{
	text_add_string(
		out,
		"msgstore-gateway is an HTTP gateway to the msgstore extension of "
		"PostgreSQL.\n"
		"\n"
		"Usage: msgstore-gateway [OPTION]...\n"
		"\n"
		"A flag overrides the environment, and the environment overrides a\n"
		"file .env in the working directory.\n"
		"\n");
	for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
	{
		const Option *option = &options[i];

		text_addf(out,
				  option->kind == OPTION_SWITCH ? "  --[no-]%s\n"
												: "  --%s VALUE\n",
				  option->flag);
		text_addf(out, "      %s\n", option->help);
		text_addf(out,
				  "      environment variable %s, default %s\n",
				  option->env,
				  option->fallback[0] != '\0' ? option->fallback : "off");
	}
	text_add_string(out, "  --help\n      show this help\n");
}

void
config_describe(const Config *config, Text *out)
{
	text_add_string(out, "\"settings\":{");
	for (size_t i = 0; i < CONFIG_OPTION_COUNT; i++)
	{
		const Option *option = &options[i];
		void *value = option_value(config, option);

		text_addf(out, "%s\"%s\":{\"value\":", i > 0 ? "," : "", option->env);
		if (option->offset == offsetof(Config, database_url))
			config_describe_url(config, out);
		else if (option->kind == OPTION_TEXT)
			text_add_json(out, *(char **) value, strlen(*(char **) value));
		else if (option->kind == OPTION_SWITCH)
			text_add_string(out, *(bool *) value ? "true" : "false");
		else if (*(long *) value < 0)
			text_add_string(out, "null");
		else
			text_addf(out, "%ld", *(long *) value);
		text_addf(out, ",\"source\":\"%s\"}", config->source[i]);
	}
	text_add_string(out, "}");
}

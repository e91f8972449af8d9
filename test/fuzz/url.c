/*
 * url.c: any DATABASE_URL: the pool's settings are within their bounds, libpq
 * accepts the rest, and no password is shown.
 */
#include <string.h>

#include <libpq-fe.h>

#include "config/url.h"
#include "fuzz.h"

/* Shorter ones may be part of other words by chance. */
#define PASSWORD_BYTES_MIN 8

static void check_settings(const Config *config);
static void check_shown(const Config *config);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Config config = {.database_url = malloc(size + 1)};
	Text error = {0};

	if (size > 0)
		memcpy(config.database_url, data, size);
	config.database_url[size] = '\0';
	if (config_read_url(&config, &error))
	{
		PROMISE(error.length == 0);
		check_settings(&config);
		check_shown(&config);
	}
	else
		PROMISE(error.length > 0);
	text_free(&error);
	free(config.conninfo);
	free(config.database_url);
	return 0;
}

static void
check_settings(const Config *config)
{
	PROMISE(config->pool_min >= 0 && config->pool_min <= config->pool_max);
	PROMISE(config->pool_max >= 1 && config->pool_max <= 1000);
	PROMISE(config->pool_acquire_timeout >= 1);
	PROMISE(config->pool_idle_timeout >= 1);
	PROMISE(config->pool_max_lifetime >= 1);
	PROMISE(config->pool_connect_timeout >= 1);
}

/*
 * The log shows no password, unless it equals part of something else. With
 * characters that are escaped there, this could not be told.
 */
static void
check_shown(const Config *config)
{
	PQconninfoOption *options = PQconninfoParse(config->conninfo, NULL);
	const char *password = NULL;
	Text shown = {0};
	Text others = {0};

	PROMISE(options != NULL);
	for (PQconninfoOption *o = options; o->keyword != NULL; o++)
	{
		if (strcmp(o->keyword, "password") == 0)
			password = o->val;
		else if (o->val != NULL)
			text_addf(&others, "%s=%s ", o->keyword, o->val);
	}
	config_describe_url(config, &shown);
	PROMISE(shown.length >= 2 && shown.data[0] == '"' &&
			shown.data[shown.length - 1] == '"');
	PROMISE(memchr(shown.data, '\n', shown.length) == NULL);
	if (password != NULL && strlen(password) >= PASSWORD_BYTES_MIN &&
		strpbrk(password, "\\'\"") == NULL &&
		strstr(others.data, password) == NULL)
		PROMISE(strstr(shown.data, password) == NULL ||
				strstr("password=*** min_connections=1 max_connections=10 "
					   "acquire_timeout=30 idle_timeout=600 max_lifetime=300",
					   password) != NULL);
	text_free(&shown);
	text_free(&others);
	PQconninfoFree(options);
}

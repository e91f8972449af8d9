/*
 * url.c: DATABASE_URL: the pool's parameters are ours, the rest is libpq's.
 *
 * The URL may contain a password. So neither the URL nor a message of libpq,
 * which may quote it, is ever shown; only selected parts are.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <libpq-fe.h>

#include "config/options.h"
#include "config/url.h"

/* Parameters of DATABASE_URL that libpq does not know. */
typedef struct PoolParameter
{
	const char *name;
	long min;
	long max;
	long fallback;
	size_t offset;
} PoolParameter;

static const PoolParameter pool_parameters[] = {
	{"min_connections", 0, 1000, 1, offsetof(Config, pool_min)},
	{"max_connections", 1, 1000, 10, offsetof(Config, pool_max)},
	{"acquire_timeout", 1, 3600, 30, offsetof(Config, pool_acquire_timeout)},
	{"idle_timeout", 1, 86400, 600, offsetof(Config, pool_idle_timeout)},
	{"max_lifetime", 1, 86400, 300, offsetof(Config, pool_max_lifetime)},
};

#define POOL_PARAMETER_COUNT                                                   \
	(sizeof(pool_parameters) / sizeof(pool_parameters[0]))

#define CONNECT_TIMEOUT_DEFAULT 5
#define CONNECT_TIMEOUT_MAX 60

static bool split_url(Config *config, Text *error);
static bool take_pool_parameter(Config *config,
								const char *pair,
								size_t length,
								bool *taken,
								Text *error);
static bool check_conninfo(Config *config, Text *error);
static long *pool_setting(const Config *config, const PoolParameter *parameter);

bool
config_read_url(Config *config, Text *error)
{
	return split_url(config, error) && check_conninfo(config, error);
}

void
config_describe_url(const Config *config, Text *out)
{
	static const char *const shown[] =
		{"host", "hostaddr", "port", "dbname", "user", "sslmode"};
	PQconninfoOption *parsed = PQconninfoParse(config->conninfo, NULL);
	Text url = {0};

	for (PQconninfoOption *option = parsed;
		 option != NULL && option->keyword != NULL;
		 option++)
	{
		if (option->val == NULL)
			continue;
		for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		{
			if (strcmp(option->keyword, shown[i]) == 0)
				text_addf(&url, "%s=%s ", option->keyword, option->val);
		}
		if (strcmp(option->keyword, "password") == 0)
			text_add_string(&url, "password=*** ");
	}
	PQconninfoFree(parsed);
	for (size_t i = 0; i < POOL_PARAMETER_COUNT; i++)
		text_addf(&url,
				  "%s%s=%ld",
				  i > 0 ? " " : "",
				  pool_parameters[i].name,
				  *pool_setting(config, &pool_parameters[i]));
	text_add_json(out, url.data != NULL ? url.data : "", url.length);
	text_free(&url);
}

/* Removes the pool's parameters from the URL's query; libpq gets the rest. */
static bool
split_url(Config *config, Text *error)
{
	const char *url = config->database_url;
	const char *query = strchr(url, '?');
	Text rest = {0};
	char separator = '?';

	if (strncmp(url, "postgres://", 11) != 0 &&
		strncmp(url, "postgresql://", 13) != 0)
	{
		text_add_string(error,
						"DATABASE_URL must start with postgresql:// or "
						"postgres://");
		return false;
	}
	for (size_t i = 0; i < POOL_PARAMETER_COUNT; i++)
		*pool_setting(config, &pool_parameters[i]) =
			pool_parameters[i].fallback;
	text_add(&rest, url, query != NULL ? (size_t) (query - url) : strlen(url));
	while (query != NULL)
	{
		const char *pair = query + 1;
		size_t length = strcspn(pair, "&");
		bool taken;

		if (!take_pool_parameter(config, pair, length, &taken, error))
		{
			text_free(&rest);
			return false;
		}
		if (!taken)
		{
			text_add(&rest, &separator, 1);
			text_add(&rest, pair, length);
			separator = '&';
		}
		query = pair[length] == '&' ? pair + length : NULL;
	}
	config->conninfo = rest.data;
	if (config->pool_min > config->pool_max)
		text_add_string(error,
						"min_connections in DATABASE_URL exceeds "
						"max_connections");
	return !rest.failed && config->pool_min <= config->pool_max;
}

static bool
take_pool_parameter(Config *config,
					const char *pair,
					size_t length,
					bool *taken,
					Text *error)
{
	*taken = false;
	for (size_t i = 0; i < POOL_PARAMETER_COUNT; i++)
	{
		const PoolParameter *parameter = &pool_parameters[i];
		size_t name = strlen(parameter->name);
		char value[16];

		if (length <= name || memcmp(pair, parameter->name, name) != 0 ||
			pair[name] != '=')
			continue;
		*taken = true;
		snprintf(value,
				 sizeof(value),
				 "%.*s",
				 (int) (length - name - 1),
				 pair + name + 1);
		if (length - name > sizeof(value) ||
			!option_parse_number(value,
								 parameter->min,
								 parameter->max,
								 pool_setting(config, parameter)))
		{
			text_addf(error,
					  "invalid value \"%s\" for %s in DATABASE_URL: must be "
					  "a number from %ld to %ld",
					  value,
					  parameter->name,
					  parameter->min,
					  parameter->max);
			return false;
		}
	}
	return true;
}

/*
 * Lets libpq parse the URL once, for a clear error at the start. Its message
 * may quote the URL with the password, so it is not shown.
 */
static bool
check_conninfo(Config *config, Text *error)
{
	char *message = NULL;
	PQconninfoOption *parsed = PQconninfoParse(config->conninfo, &message);

	PQfreemem(message);
	if (parsed == NULL)
	{
		text_add_string(error, "DATABASE_URL is not a valid connection URI");
		return false;
	}
	config->pool_connect_timeout = CONNECT_TIMEOUT_DEFAULT;
	for (PQconninfoOption *option = parsed; option->keyword != NULL; option++)
	{
		if (strcmp(option->keyword, "connect_timeout") == 0 &&
			option->val != NULL &&
			!option_parse_number(option->val,
								 1,
								 CONNECT_TIMEOUT_MAX,
								 &config->pool_connect_timeout))
			config->pool_connect_timeout = CONNECT_TIMEOUT_DEFAULT;
	}
	PQconninfoFree(parsed);
	return true;
}

static long *
pool_setting(const Config *config, const PoolParameter *parameter)
{
	return (long *) ((char *) config + parameter->offset);
}

/*
 * config.c: flags, environment and DATABASE_URL, in one table of options.
 *
 * The table drives the flags, the environment, --help and the start-up log
 * line, so a setting cannot be in one of them and not in the others. A value
 * that cannot be used ends the start: a gateway that runs with other limits
 * than its operator wrote down is worse than one that does not run.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"

typedef enum OptionKind
{
	OPTION_TEXT,
	OPTION_NUMBER,
	OPTION_OPTIONAL, /* a number, or unset (-1) */
	OPTION_SWITCH	 /* on or off; as a flag: --name or --no-name */
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
	const char *help;
} Option;

#define SETTING(member) offsetof(Config, member)

/* A table reads by its columns. */
/* clang-format off */
static const Option options[] = {
	{"database-url", "DATABASE_URL", OPTION_TEXT, "postgresql://", 0, 0,
	 SETTING(database_url),
	 "PostgreSQL URI; also takes min_connections, max_connections,\n"
	 "      acquire_timeout, idle_timeout, max_lifetime"},
	{"host", "HOST", OPTION_TEXT, "127.0.0.1", 0, 0,
	 SETTING(host), "address to listen on"},
	{"port", "PORT", OPTION_NUMBER, "8080", 1, 65535,
	 SETTING(port), "port to listen on"},
	{"auth", "AUTH_ENABLED", OPTION_TEXT, "auto", 0, 0,
	 SETTING(auth_name),
	 "on: requests need a key; off: they do not; auto: on unless HOST is a\n"
	 "      loopback address"},
	{"insecure", "INSECURE", OPTION_SWITCH, "false", 0, 0,
	 SETTING(insecure),
	 "listen beyond loopback also without keys; auto is then off"},
	{"tls-cert", "TLS_CERT", OPTION_TEXT, "", 0, 0,
	 SETTING(tls_cert),
	 "file with the certificate and its chain, PEM: HTTPS and nothing else"},
	{"tls-key", "TLS_KEY", OPTION_TEXT, "", 0, 0,
	 SETTING(tls_key), "file with the certificate's key, PEM"},
	{"health-path", "HEALTH_PATH", OPTION_TEXT, "/healthz", 0, 0,
	 SETTING(health_path), "path of the liveness probe"},
	{"log-level", "LOG_LEVEL", OPTION_TEXT, "info", 0, 0,
	 SETTING(log_level_name), "debug, info, warn or error"},
	{"max-connections", "HTTP_MAX_CONNECTIONS", OPTION_NUMBER, "256", 1, 10000,
	 SETTING(max_connections),
	 "HTTP connections at the same time; beyond it clients get 503"},
	{"max-header-bytes", "HTTP_MAX_HEADER_BYTES", OPTION_NUMBER,
	 "16384", 1024, 1048576,
	 SETTING(max_header_bytes), "size of a request line and its headers"},
	{"max-body-bytes", "API_MAX_BODY_BYTES", OPTION_NUMBER,
	 "262144", 1, 67108864,
	 SETTING(max_body_bytes), "size of a request's body"},
	{"request-timeout", "HTTP_REQUEST_TIMEOUT_SECS", OPTION_NUMBER,
	 "10", 1, 600,
	 SETTING(request_timeout),
	 "seconds a client has to send its headers, and again for its body"},
	{"keep-alive", "HTTP_KEEP_ALIVE_SECS", OPTION_NUMBER, "60", 1, 3600,
	 SETTING(keep_alive), "seconds an idle connection is kept"},
	{"query-timeout", "DATABASE_QUERY_TIMEOUT_SECS", OPTION_NUMBER,
	 "10", 1, 600,
	 SETTING(query_timeout), "seconds a call of the database may take"},
	{"batch", "BATCH_ENABLED", OPTION_SWITCH, "true", 0, 0,
	 SETTING(batch), "webhooks that wait at the same moment share one commit"},
	{"trust-proxy", "TRUST_PROXY", OPTION_SWITCH, "false", 0, 0,
	 SETTING(trust_proxy),
	 "believe X-Forwarded-For and X-Real-IP from any peer, not only a local\n"
	 "      one"},
	{"rate-limit-per-ip", "API_RATE_LIMIT_PER_IP_PER_MIN", OPTION_OPTIONAL,
	 "", 1, INT_MAX,
	 SETTING(rate_limit_per_ip),
	 "API requests a minute from one address (usual: 120)"},
	{"rate-limit-per-sender", "API_RATE_LIMIT_PER_SENDER_PER_MIN",
	 OPTION_OPTIONAL, "", 1, INT_MAX,
	 SETTING(rate_limit_per_sender),
	 "accepted posts a minute with one \"from\" (usual: 60)"},
	{"breaker-error-threshold", "API_BREAKER_ERROR_THRESHOLD", OPTION_NUMBER,
	 "20", 1, INT_MAX,
	 SETTING(breaker_error_threshold),
	 "internal errors in a row that open a route's breaker"},
	{"breaker-open", "API_BREAKER_OPEN_SECS", OPTION_NUMBER, "30", 1, 86400,
	 SETTING(breaker_open), "seconds a breaker stays open"},
	{"breaker-half-open-successes", "API_BREAKER_HALF_OPEN_SUCCESSES",
	 OPTION_NUMBER, "1", 1, INT_MAX,
	 SETTING(breaker_half_open_successes),
	 "successes in a row, after that, that close it"},
	{"security-headers", "SECURITY_HEADERS_ENABLED", OPTION_SWITCH,
	 "true", 0, 0,
	 SETTING(security_headers), "send the security headers"},
	{"csp-default-src", "CSP_DEFAULT_SRC", OPTION_TEXT, "'self'", 0, 0,
	 SETTING(csp_default_src), "default-src of the Content-Security-Policy"},
	{"hsts", "HSTS_ENABLED", OPTION_SWITCH, "false", 0, 0,
	 SETTING(hsts), "send Strict-Transport-Security (behind a TLS proxy)"},
	{"provider-timeout-pct", "API_PROVIDER_TIMEOUT_PCT", OPTION_NUMBER,
	 "0", 0, 100,
	 SETTING(provider.timeout_pct), "mock provider: percent of time-outs"},
	{"provider-error-pct", "API_PROVIDER_ERROR_PCT", OPTION_NUMBER, "0", 0, 100,
	 SETTING(provider.error_pct), "mock provider: percent of errors"},
	{"provider-ratelimit-pct", "API_PROVIDER_RATELIMIT_PCT", OPTION_NUMBER,
	 "0", 0, 100,
	 SETTING(provider.ratelimit_pct), "mock provider: percent of rate limits"},
	{"provider-seed", "API_PROVIDER_SEED", OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider.seed), "mock provider: makes its outcomes repeatable"},
	{"provider-sms-timeout-pct", "API_PROVIDER_SMS_TIMEOUT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.timeout_pct), "the same of sms-mms alone"},
	{"provider-sms-error-pct", "API_PROVIDER_SMS_ERROR_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.error_pct), "the same of sms-mms alone"},
	{"provider-sms-ratelimit-pct", "API_PROVIDER_SMS_RATELIMIT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_sms.ratelimit_pct), "the same of sms-mms alone"},
	{"provider-sms-seed", "API_PROVIDER_SMS_SEED",
	 OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider_sms.seed), "the same of sms-mms alone"},
	{"provider-email-timeout-pct", "API_PROVIDER_EMAIL_TIMEOUT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.timeout_pct), "the same of email alone"},
	{"provider-email-error-pct", "API_PROVIDER_EMAIL_ERROR_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.error_pct), "the same of email alone"},
	{"provider-email-ratelimit-pct", "API_PROVIDER_EMAIL_RATELIMIT_PCT",
	 OPTION_OPTIONAL, "", 0, 100,
	 SETTING(provider_email.ratelimit_pct), "the same of email alone"},
	{"provider-email-seed", "API_PROVIDER_EMAIL_SEED",
	 OPTION_OPTIONAL, "", 0, LONG_MAX,
	 SETTING(provider_email.seed), "the same of email alone"},
	{"provider-latency", "API_PROVIDER_LATENCY_MS", OPTION_NUMBER,
	 "0", 0, 600000,
	 SETTING(provider_latency),
	 "mock sender: milliseconds until its provider answers"},
	{"mock-sender", "MOCK_SENDER", OPTION_SWITCH, "false", 0, 0,
	 SETTING(mock_sender), "send outbound messages through the mock provider"},
};
/* clang-format on */

#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

_Static_assert(OPTION_COUNT <= CONFIG_OPTIONS_MAX, "source[] is too short");

#define DOTENV_MAX_BYTES 65536

static bool read_flags(Config *config, int argc, char **argv, Text *error);
static bool read_environment(Config *config, Text *error);
static void read_dotenv(Config *config);
static void read_dotenv_line(Config *config, char *line);
static const Option *find_flag(const char *name, size_t length, bool *negated);
static bool set_option(Config *config,
					   const Option *option,
					   const char *name,
					   const char *value,
					   const char *source,
					   Text *error);
static void explain_refusal(const Option *option,
							const char *name,
							const char *value,
							Text *error);
static bool parse_switch(const char *value, bool *on);
static bool derive_settings(Config *config, Text *error);
static bool derive_provider(const Config *config,
							ProviderConfig *provider,
							const char *prefix,
							Text *error);
static bool derive_auth(Config *config, Text *error);
static bool is_loopback(const char *host);
static bool derive_health_path(Config *config, Text *error);
static void *setting(const Config *config, size_t offset);

bool
config_load(Config *config, int argc, char **argv, Text *error)
{
	memset(config, 0, sizeof(*config));
	read_dotenv(config);
	if (!read_flags(config, argc, argv, error))
		return false;
	if (config->help)
		return true;
	return read_environment(config, error) && derive_settings(config, error);
}

void
config_free(Config *config)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		if (options[i].kind == OPTION_TEXT)
			free(*(char **) setting(config, options[i].offset));
	}
	free(config->conninfo);
}

void
config_help(Text *out)
{
	text_add_string(
		out,
		"msgstore-gateway carries HTTP requests to the msgstore extension.\n"
		"\n"
		"Usage: msgstore-gateway [OPTION]...\n"
		"\n"
		"A flag wins over the environment, the environment over a file .env\n"
		"in the working directory.\n"
		"\n");
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		const Option *option = &options[i];

		text_addf(out,
				  option->kind == OPTION_SWITCH ? "  --[no-]%s\n"
												: "  --%s VALUE\n",
				  option->flag);
		text_addf(out, "      %s\n", option->help);
		text_addf(out,
				  "      environment %s, default %s\n",
				  option->env,
				  option->fallback[0] != '\0' ? option->fallback : "off");
	}
	text_add_string(out, "  --help\n      show this text\n");
}

void
config_describe(const Config *config, Text *out)
{
	text_add_string(out, "\"settings\":{");
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		const Option *option = &options[i];
		void *value = setting(config, option->offset);

		text_addf(out, "%s\"%s\":{\"value\":", i > 0 ? "," : "", option->env);
		if (option->offset == SETTING(database_url))
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

bool
config_number(const char *value, long min, long max, long *number)
{
	char *end;

	if (value[0] < '0' || value[0] > '9')
		return false;
	errno = 0;
	*number = strtol(value, &end, 10);
	return errno == 0 && *end == '\0' && *number >= min && *number <= max;
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
		option = find_flag(name, length, &negated);
		if (option == NULL)
		{
			text_addf(error, "option \"%s\" does not exist; try --help", name);
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
		if (!set_option(config, option, name, value, "flag", error))
			return false;
	}
	return true;
}

/* Whatever no flag has set comes from the environment or the default. */
static bool
read_environment(Config *config, Text *error)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
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
		if (!set_option(config, option, option->env, value, source, error))
			return false;
	}
	return true;
}

/*
 * Puts the file's variables into the environment, where there are none of the
 * same name, so that libpq's own (PGPASSWORD, ...) may stand there too.
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
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		if (strcmp(options[i].env, line) == 0)
			config->source[i] = ".env";
	}
}

static const Option *
find_flag(const char *name, size_t length, bool *negated)
{
	if (length < 3 || strncmp(name, "--", 2) != 0)
		return NULL;
	name += 2;
	length -= 2;
	for (size_t i = 0; i < OPTION_COUNT; i++)
	{
		const char *flag = options[i].flag;

		if (strlen(flag) == length && memcmp(flag, name, length) == 0)
			return &options[i];
		if (options[i].kind == OPTION_SWITCH && strlen(flag) + 3 == length &&
			memcmp(name, "no-", 3) == 0 &&
			memcmp(flag, name + 3, length - 3) == 0)
		{
			*negated = true;
			return &options[i];
		}
	}
	return NULL;
}

static bool
set_option(Config *config,
		   const Option *option,
		   const char *name,
		   const char *value,
		   const char *source,
		   Text *error)
{
	void *target = setting(config, option->offset);
	bool valid = true;

	config->source[option - options] = source;
	switch (option->kind)
	{
		case OPTION_TEXT:
			free(*(char **) target);
			*(char **) target = strdup(value);
			valid = *(char **) target != NULL;
			break;
		case OPTION_SWITCH:
			valid = parse_switch(value, target);
			break;
		case OPTION_OPTIONAL:
			*(long *) target = -1;
			valid = value[0] == '\0' ||
					config_number(value, option->min, option->max, target);
			break;
		case OPTION_NUMBER:
			valid = config_number(value, option->min, option->max, target);
			break;
	}
	if (!valid)
		explain_refusal(option, name, value, error);
	return valid;
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
		text_add_string(error, "true or false expected");
	else if (option->kind == OPTION_TEXT)
		text_add_string(error, "out of memory");
	else
		text_addf(error,
				  "a number from %ld to %ld expected",
				  option->min,
				  option->max);
}

static bool
parse_switch(const char *value, bool *on)
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

static bool
derive_settings(Config *config, Text *error)
{
	if (!log_parse_level(config->log_level_name, &config->log_level))
	{
		text_addf(error,
				  "invalid value \"%s\" for LOG_LEVEL: debug, info, warn or "
				  "error expected",
				  config->log_level_name);
		return false;
	}
	if (strpbrk(config->csp_default_src, "\r\n") != NULL)
	{
		text_add_string(error, "CSP_DEFAULT_SRC has more than one line");
		return false;
	}
	return derive_provider(config, &config->provider, "", error) &&
		   derive_provider(config, &config->provider_sms, "SMS_", error) &&
		   derive_provider(config, &config->provider_email, "EMAIL_", error) &&
		   derive_auth(config, error) && derive_health_path(config, error) &&
		   config_read_url(config, error);
}

/* What is not set for a provider alone is as for all. */
static bool
derive_provider(const Config *config,
				ProviderConfig *provider,
				const char *prefix,
				Text *error)
{
	const ProviderConfig *all = &config->provider;

	if (provider->timeout_pct < 0)
		provider->timeout_pct = all->timeout_pct;
	if (provider->error_pct < 0)
		provider->error_pct = all->error_pct;
	if (provider->ratelimit_pct < 0)
		provider->ratelimit_pct = all->ratelimit_pct;
	if (provider->seed < 0)
		provider->seed = all->seed;
	if (provider->timeout_pct + provider->error_pct + provider->ratelimit_pct <=
		100)
		return true;
	text_addf(error,
			  "API_PROVIDER_%sTIMEOUT_PCT, API_PROVIDER_%sERROR_PCT and "
			  "API_PROVIDER_%sRATELIMIT_PCT are more than 100 together",
			  prefix,
			  prefix,
			  prefix);
	return false;
}

/*
 * Whoever can be reached by others asks for keys, unless its operator has said
 * twice that it shall not: where it listens, and that this is meant so.
 */
static bool
derive_auth(Config *config, Text *error)
{
	config->beyond_loopback = !is_loopback(config->host);
	config->auth = config->beyond_loopback && !config->insecure;
	if (strcasecmp(config->auth_name, "auto") != 0 &&
		!parse_switch(config->auth_name, &config->auth))
	{
		text_addf(error,
				  "invalid value \"%s\" for AUTH_ENABLED: on, off or auto "
				  "expected",
				  config->auth_name);
		return false;
	}
	if (config->beyond_loopback && !config->auth && !config->insecure)
	{
		text_addf(error,
				  "without keys anyone who reaches %s could read and write: "
				  "leave authentication on or say --insecure",
				  config->host);
		return false;
	}
	if ((config->tls_cert[0] == '\0') != (config->tls_key[0] == '\0'))
	{
		text_add_string(error, "TLS_CERT and TLS_KEY go together");
		return false;
	}
	return true;
}

static bool
is_loopback(const char *host)
{
	struct in_addr address;

	return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
		   strcmp(host, "[::1]") == 0 ||
		   (inet_pton(AF_INET, host, &address) == 1 &&
			(ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET);
}

/* Blank means the default; a slash that was forgotten is put in front. */
static bool
derive_health_path(Config *config, Text *error)
{
	const char *path = config->health_path + strspn(config->health_path, " \t");
	Text clean = {0};

	if (*path == '\0')
		path = "/healthz";
	text_addf(&clean, "%s%s", *path == '/' ? "" : "/", path);
	if (clean.failed)
	{
		text_add_string(error, "out of memory");
		text_free(&clean);
		return false;
	}
	free(config->health_path);
	config->health_path = clean.data;
	return true;
}

static void *
setting(const Config *config, size_t offset)
{
	return (char *) config + offset;
}

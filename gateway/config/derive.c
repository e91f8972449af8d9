/*
 * derive.c: checks settings against each other, and derives what follows from
 * them.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/derive.h"
#include "config/options.h"
#include "config/url.h"

static bool derive_proxies(Config *config, Text *error);
static bool derive_provider(const Config *config,
							ProviderConfig *provider,
							const char *prefix,
							Text *error);
static bool derive_auth(Config *config, Text *error);
static bool derive_address(Config *config, Text *error);
static bool is_loopback(const char *host);
static bool derive_health_path(Config *config, Text *error);

bool
config_derive(Config *config, Text *error)
{
	config->slot = -1;
	if (strpbrk(config->csp_default_src, "\r\n") != NULL)
	{
		text_add_string(error, "CSP_DEFAULT_SRC must be a single line");
		return false;
	}
	return derive_proxies(config, error) && config_check_sizes(config, error) &&
		   derive_provider(config, &config->provider, "", error) &&
		   derive_provider(config, &config->provider_sms, "SMS_", error) &&
		   derive_provider(config, &config->provider_email, "EMAIL_", error) &&
		   derive_address(config, error) && derive_auth(config, error) &&
		   derive_health_path(config, error) && config_read_url(config, error);
}

/* One client gets half of the memory, and a body is counted twice. */
bool
config_check_sizes(const Config *config, Text *error)
{
	if (config->max_buffer_bytes / 4 >= config->max_body_bytes)
		return true;
	text_addf(error,
			  "HTTP_MAX_BUFFER_BYTES of %ld must be at least four times "
			  "API_MAX_BODY_BYTES of %ld",
			  config->max_buffer_bytes,
			  config->max_body_bytes);
	return false;
}

static bool
derive_proxies(Config *config, Text *error)
{
	if (option_parse_switch(config->trust_proxy, &config->trust_all) ||
		networks_parse(config->trust_proxy, &config->proxies))
		return true;
	text_addf(error,
			  "invalid value \"%s\" for TRUST_PROXY: must be true, false, or a "
			  "list of IP addresses and ranges such as 10.0.0.0/8",
			  config->trust_proxy);
	return false;
}

/* A provider's unset values default to the common ones. */
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
			  "API_PROVIDER_%sRATELIMIT_PCT add up to more than 100",
			  prefix,
			  prefix,
			  prefix);
	return false;
}

/*
 * A gateway that other hosts can reach requires keys, unless its operator
 * disables that explicitly: a HOST beyond loopback is not enough.
 */
static bool
derive_auth(Config *config, Text *error)
{
	config->beyond_loopback = !is_loopback(config->host);
	config->auth = config->beyond_loopback && !config->insecure;
	if (strcasecmp(config->auth_name, "auto") != 0 &&
		!option_parse_switch(config->auth_name, &config->auth))
	{
		text_addf(error,
				  "invalid value \"%s\" for AUTH_ENABLED: must be on, off or "
				  "auto",
				  config->auth_name);
		return false;
	}
	if (config->beyond_loopback && !config->auth && !config->insecure)
	{
		text_addf(error,
				  "without keys anyone who can reach %s could read and write: "
				  "leave authentication on or use --insecure",
				  config->host);
		return false;
	}
	if ((config->tls_cert[0] == '\0') != (config->tls_key[0] == '\0'))
	{
		text_add_string(error, "TLS_CERT and TLS_KEY must be set together");
		return false;
	}
	return true;
}

/* An IPv6 address may be given in brackets, as in a URL. */
static bool
derive_address(Config *config, Text *error)
{
	char *host = config->host;
	size_t length = strlen(host);
	Text address = {0};

	if (length > 2 && host[0] == '[' && host[length - 1] == ']')
	{
		memmove(host, host + 1, length - 2);
		host[length - 2] = '\0';
	}
	text_addf(&address,
			  strchr(host, ':') != NULL ? "[%s]:%ld" : "%s:%ld",
			  host,
			  config->port);
	if (address.failed)
		text_add_string(error, "out of memory");
	config->address = address.data;
	return !address.failed;
}

static bool
is_loopback(const char *host)
{
	struct in_addr address;
	struct in6_addr address6;

	return strcmp(host, "localhost") == 0 ||
		   (inet_pton(AF_INET, host, &address) == 1 &&
			(ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET) ||
		   (inet_pton(AF_INET6, host, &address6) == 1 &&
			IN6_IS_ADDR_LOOPBACK(&address6));
}

/* A blank path means the default; a missing leading slash is added. */
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

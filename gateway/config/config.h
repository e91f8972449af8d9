/*
 * config.h: what the gateway can be told, and what it was told.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>

#include "log.h"
#include "text.h"

#define CONFIG_OPTIONS_MAX 48

/* How the mock provider behaves. */
typedef struct ProviderConfig
{
	long timeout_pct;
	long error_pct;
	long ratelimit_pct;
	long seed; /* -1: none */
} ProviderConfig;

typedef struct Config
{
	/* Settings; the table in config.c says what each one means. */
	char *database_url;
	char *host;
	long port;
	char *health_path;
	char *log_level_name;
	char *auth_name; /* auto, on or off */
	bool insecure;
	char *tls_cert; /* files; "": no TLS */
	char *tls_key;
	long max_connections;
	long max_header_bytes;
	long max_body_bytes;
	long request_timeout; /* seconds */
	long keep_alive;	  /* seconds */
	long query_timeout;	  /* seconds */
	bool batch;
	bool trust_proxy;
	long rate_limit_per_ip;		/* a minute; -1: no limit */
	long rate_limit_per_sender; /* a minute; -1: no limit */
	long breaker_error_threshold;
	long breaker_open; /* seconds */
	long breaker_half_open_successes;
	bool security_headers;
	char *csp_default_src;
	bool hsts;
	ProviderConfig provider;
	ProviderConfig provider_sms;   /* sms-mms; -1 at first: as provider */
	ProviderConfig provider_email; /* the same */
	long provider_latency;		   /* milliseconds */
	bool mock_sender;

	/* What follows from them. */
	LogLevel log_level;
	bool beyond_loopback;	   /* others than this machine can connect */
	bool auth;				   /* requests need a key */
	char *conninfo;			   /* the URL without the pool's parameters */
	long pool_min;			   /* connections */
	long pool_max;			   /* connections */
	long pool_acquire_timeout; /* seconds */
	long pool_idle_timeout;	   /* seconds */
	long pool_max_lifetime;	   /* seconds */
	long pool_connect_timeout; /* seconds */

	const char *source[CONFIG_OPTIONS_MAX]; /* flag, environment, ... */
	bool help;								/* --help was asked for */
} Config;

/*
 * Reads flags, environment and .env, in this order of precedence. On failure
 * error says which setting is wrong. The strings belong to the Config.
 */
bool config_load(Config *config, int argc, char **argv, Text *error);
void config_free(Config *config);

/* The text of --help. */
void config_help(Text *out);

/*
 * Members of the start-up log line: every setting with its value and source.
 * Of the database's URL only the parts that are no secret are shown.
 */
void config_describe(const Config *config, Text *out);

/* A whole number in decimal and within the bounds. */
bool config_number(const char *value, long min, long max, long *number);

/*
 * config_url.c: takes DATABASE_URL apart into conninfo and the pool's
 * settings, and shows of it what is no secret, as a JSON string.
 */
bool config_read_url(Config *config, Text *error);
void config_describe_url(const Config *config, Text *out);

#endif /* CONFIG_H */

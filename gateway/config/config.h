/*
 * config.h: the settings of the gateway and of the sender, as data.
 *
 * load.c fills it in; afterwards nothing changes it. SIGHUP makes another one.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>

#include "config/networks.h"
#include "log.h"

/* The number of settings of the gateway; the sender has fewer. */
#define CONFIG_OPTION_COUNT 46

/* What the command line asks for. */
typedef enum ConfigAction
{
	CONFIG_RUN,
	CONFIG_CHECK,
	CONFIG_HELP,
	CONFIG_VERSION
} ConfigAction;

/* Shares of outcomes of the mock provider. */
typedef struct ProviderConfig
{
	long timeout_pct;
	long error_pct;
	long ratelimit_pct;
	long seed; /* -1: none */
} ProviderConfig;

typedef struct Config
{
	/* Settings; the table in options.c says what each one means. */
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
	long max_listeners;
	long max_header_bytes;
	long max_body_bytes;
	long responses_max_body_bytes;
	long max_buffer_bytes;
	long request_timeout; /* seconds */
	long keep_alive;	  /* seconds */
	long query_timeout;	  /* seconds */
	bool batch;
	bool direct_slots;			/* of a cluster: call them without the router */
	char *trust_proxy;			/* true, false, or addresses and ranges */
	char *owner_header;			/* "": none */
	bool strict_readiness;		/* 503 while degraded */
	long rate_limit_per_ip;		/* a minute; -1: no limit */
	long rate_limit_per_sender; /* a minute; -1: no limit */
	long breaker_error_threshold;
	long breaker_open; /* seconds */
	long breaker_half_open_successes;
	bool console;
	bool security_headers;
	char *csp_default_src;
	bool hsts;
	ProviderConfig provider;
	ProviderConfig provider_sms;   /* sms-mms; -1 until derived: as provider */
	ProviderConfig provider_email; /* the same */
	long provider_latency;		   /* milliseconds */
	bool mock_sender;

	/* Settings of the sender only. */
	long send_connections; /* requests at a time */
	long stop_timeout;	   /* seconds for requests at a stop */
	char *secrets_dir;	   /* files; "": none */
	char *ca_file;		   /* "": the system's */
	bool allow_private;	   /* destinations on private addresses */

	/* A setting of the sender; of the gateway's own sessions otherwise. */
	long slot; /* the database is this slot of a cluster; -1: any */

	/* Derived from the settings. */
	LogLevel log_level;
	bool trust_all;			   /* every peer is a trusted proxy */
	Networks proxies;		   /* other ones, besides this machine */
	char *address;			   /* host and port, as in a URL */
	bool beyond_loopback;	   /* other hosts can connect */
	bool auth;				   /* requests require a key */
	char *conninfo;			   /* the URL without the pool's parameters */
	long pool_min;			   /* connections */
	long pool_max;			   /* connections */
	long pool_acquire_timeout; /* seconds */
	long pool_idle_timeout;	   /* seconds */
	long pool_max_lifetime;	   /* seconds */
	long pool_connect_timeout; /* seconds */

	/* flag, environment, file, .env or default */
	const char *source[CONFIG_OPTION_COUNT];
	ConfigAction action;
	const char *file; /* of --config, or NULL */
	Text others;	  /* NAME=VALUE lines of the file for libpq */
	Text unknown;	  /* names in the file that are no setting, one a line */

	struct Config *older; /* replaced by this one, and still in use */
} Config;

#endif /* CONFIG_H */

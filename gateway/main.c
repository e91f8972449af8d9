/*
 * main.c: msgstore-gateway: starts its parts in order, and stops on a signal.
 *
 * Start: settings, pool and batch, then the listener, so that no request meets
 * an incomplete gateway; then the mock sender. Stop is the reverse: new
 * requests are refused and those in flight are answered, the port is closed,
 * then the sender, the batch and the pool end. All this takes at most five
 * seconds, as service managers kill a process that takes longer. SIGHUP reloads
 * the settings and the certificate.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/describe.h"
#include "config/load.h"
#include "db/batch.h"
#include "db/cluster.h"
#include "db/pool.h"
#include "db/readiness.h"
#include "gateway.h"
#include "guard/keys.h"
#include "guard/limits.h"
#include "guard/own_limit.h"
#include "guard/sources.h"
#include "http/server.h"
#include "http/tls.h"
#include "live/feeds.h"
#include "log.h"
#include "mail/mail.h"
#include "memory.h"
#include "metrics.h"
#include "reload.h"
#include "routes/routes.h"
#include "mock/provider.h"
#include "mock/sender.h"

/* Calls are shallow, except for name resolution while connecting. */
#define THREAD_STACK_BYTES (512 * 1024)

/* After DRAIN_US, requests that are still in flight are cancelled. */
#define DRAIN_US (1500 * 1000)
#define CANCEL_US (100 * 1000)
#define CANCEL_TRIES 5
#define STOP_SECS_MAX 4

static bool read_config(Config *config, int argc, char **argv, Log *log);
static void log_unknown(Log *log, const Config *config);
static int check(Gateway *gateway, Config *config);
static bool start_gateway(Gateway *gateway, Text *error);
static bool start_server(Gateway *gateway, Text *error);
static bool start_feed(Gateway *gateway, Text *error);
static bool start_guard(Gateway *gateway, Text *error);
static bool check_keys(Gateway *gateway, Text *error);
static int await_signal(const sigset_t *signals);
static bool start_sender(Gateway *gateway, Text *error);
static void stop_gateway(Gateway *gateway);
static void free_gateway(Gateway *gateway);
static bool prepare_threads(sigset_t *signals);
static void *enforce_stop(void *argument);
static void log_start(Gateway *gateway);

int
main(int argc, char **argv)
{
	/* Static, because threads refer to them until the process ends. */
	static Config config;
	static Log log;
	static Metrics metrics;
	static Memory memory;
	static Provider provider;
	static Gateway gateway = {.config = &config,
							  .log = &log,
							  .metrics = &metrics,
							  .memory = &memory,
							  .provider = &provider};
	Config *latest = &config;
	sigset_t signals;
	int signal;
	Text error = {0};
	bool started;

	memory_tune();
	log_init(&log);
	if (!read_config(&config, argc, argv, &log))
	{
		config_free(&config);
		return 1;
	}
	if (config.action != CONFIG_RUN)
	{
		int status = config.action == CONFIG_CHECK ? check(&gateway, &config)
												   : config_answer(&config);

		config_free(&config);
		return status;
	}
	log.level = config.log_level;
	metrics_init(&metrics);
	memory_init(&memory, (size_t) config.max_buffer_bytes);
	provider_init(&provider, &config);
	mail_init();
	started = prepare_threads(&signals);
	log_start_writer(&log);
	started = started && start_gateway(&gateway, &error);
	if (started && !start_sender(&gateway, &error))
	{
		server_stop(gateway.server);
		started = false;
	}
	if (started)
	{
		while ((signal = await_signal(&signals)) == SIGHUP)
			latest = reload(&gateway, latest, argc, argv);
		server_refuse(gateway.server);
		log_event(&log,
				  LOG_INFO,
				  "stopping on signal %s",
				  signal == SIGINT ? "INT" : "TERM");
		stop_gateway(&gateway);
		log_event(&log, LOG_INFO, "stopped");
	}
	free_gateway(&gateway);
	/* The last line of a start that failed is its reason. */
	if (!started)
		log_event(&log,
				  LOG_ERROR,
				  "%s",
				  error.data != NULL ? error.data : "out of memory or threads");
	log_stop_writer(&log);
	text_free(&error);
	memory_free(&memory);
	metrics_free(&metrics);
	reload_free(latest, &config);
	config_free(&config);
	return started ? 0 : 1;
}

/* False if a setting is wrong. */
static bool
read_config(Config *config, int argc, char **argv, Log *log)
{
	Text error = {0};
	bool valid = config_load(config, argc, argv, NULL, &error);

	log->plain = config->action == CONFIG_CHECK;
	if (!valid)
		log_event(log, LOG_ERROR, "%s", error.data != NULL ? error.data : "");
	else
		log_unknown(log, config);
	text_free(&error);
	return valid;
}

static void
log_unknown(Log *log, const Config *config)
{
	const char *name = config->unknown.data;

	while (name != NULL && *name != '\0')
	{
		size_t length = strcspn(name, "\n");

		log_event(log,
				  LOG_WARN,
				  "\"%.*s\" in \"%s\" is not a setting of the gateway",
				  (int) length,
				  name,
				  config->file);
		name += length + 1;
	}
}

/*
 * --check: everything that is examined at the start, except whether the port is
 * free, because the gateway may be running. Returns the exit status: 0 if its
 * probe would answer 200.
 */
static int
check(Gateway *gateway, Config *config)
{
	ReadinessState state;
	Text error = {0};
	bool valid;

	config->pool_min = 0; /* connections are opened only to look for keys */
	gateway->pool = pool_create(config, gateway->log);
	valid = gateway->pool != NULL && start_guard(gateway, &error);
	if (!valid)
		log_event(gateway->log,
				  LOG_ERROR,
				  "%s",
				  error.data != NULL ? error.data : "out of memory or threads");
	state = readiness_check(config, gateway->log);
	if (!valid)
		state = READINESS_NOT_READY;
	puts(state == READINESS_READY ? "ready"
		 : state == READINESS_DEGRADED
			 ? "degraded: webhooks can be stored"
			 : "not ready: webhooks cannot be stored");
	text_free(&error);
	free_gateway(gateway);
	return state == READINESS_NOT_READY ||
				   (state == READINESS_DEGRADED && config->strict_readiness)
			   ? 1
			   : 0;
}

/* On failure error says why, or is empty: out of memory or threads. */
static bool
start_gateway(Gateway *gateway, Text *error)
{
	const Config *config = gateway->config;

	gateway->limits = limits_create(config, gateway->metrics);
	gateway->pool = pool_create(config, gateway->log);
	if (gateway->pool != NULL)
		gateway->batch =
			batch_create(config, gateway->log, gateway->metrics, gateway->pool);
	if (gateway->batch != NULL)
		gateway->cluster = cluster_create(config,
										  gateway->log,
										  gateway->metrics,
										  gateway->pool,
										  gateway->batch);
	if (gateway->limits == NULL || gateway->cluster == NULL)
		return false;
	log_start(gateway);
	gateway->readiness = readiness_create(config, gateway->log, gateway->pool);
	if (gateway->readiness == NULL || !start_server(gateway, error))
		return false;
	log_event(gateway->log, LOG_INFO, "listening on %s", config->address);
	return true;
}

static bool
start_server(Gateway *gateway, Text *error)
{
	if (start_guard(gateway, error) && start_feed(gateway, error))
		gateway->server =
			server_start(gateway,
						 (RequestHandler){routes_dispatch, routes_finish},
						 error);
	return gateway->server != NULL;
}

static bool
start_feed(Gateway *gateway, Text *error)
{
	if (gateway->config->max_listeners == 0)
		return true;
	gateway->feeds = feeds_create(gateway->config,
								  gateway->log,
								  gateway->metrics,
								  gateway->keys,
								  gateway->cluster);
	if (gateway->feeds == NULL)
		text_add_string(error, "out of memory or threads");
	return gateway->feeds != NULL;
}

/* TLS, keys and the limit. On failure error says why. */
static bool
start_guard(Gateway *gateway, Text *error)
{
	const Config *config = gateway->config;

	if (config->tls_cert[0] != '\0')
	{
		gateway->tls = tls_create(config, error);
		if (gateway->tls == NULL)
			return false;
	}
	else if (config->beyond_loopback && config->auth)
		log_event(gateway->log,
				  LOG_WARN,
				  "keys are sent in clear text: set TLS_CERT and TLS_KEY, or "
				  "use a proxy with TLS");
	if (config->auth)
		gateway->keys = keys_create(config, gateway->log, gateway->pool);
	else
		gateway->own_limit = own_limit_create(gateway->pool);
	gateway->sources = sources_create(gateway->pool);
	if (gateway->sources == NULL ||
		(gateway->keys == NULL && gateway->own_limit == NULL))
	{
		text_add_string(error, "out of memory or threads");
		return false;
	}
	return gateway->keys == NULL || check_keys(gateway, error);
}

/*
 * A gateway that nobody has a key for is useless, and its operator should learn
 * that at the start. While the database is away this is not known; the gateway
 * starts then, because it admits nobody without a key.
 */
static bool
check_keys(Gateway *gateway, Text *error)
{
	KeysThere there = keys_look(gateway->keys);

	if (there == KEYS_NOT_KNOWN)
		log_event(gateway->log,
				  LOG_WARN,
				  "requests require keys; could not check whether any exist");
	if (there != KEYS_NONE)
		return true;
	if (gateway->config->beyond_loopback && !gateway->config->insecure)
	{
		text_add_string(error,
						"requests require keys, but none exist: create one "
						"with msgstore.create_api_key, or use --insecure");
		return false;
	}
	log_event(gateway->log,
			  LOG_WARN,
			  "requests require keys, but none exist yet");
	return true;
}

/* Comes last, so that a gateway that cannot listen sends nothing. */
static bool
start_sender(Gateway *gateway, Text *error)
{
	if (!gateway->config->mock_sender)
		return true;
	gateway->sender = sender_create(gateway->config,
									gateway->log,
									gateway->metrics,
									gateway->provider);
	if (gateway->sender == NULL)
		text_add_string(error, "out of memory or threads");
	return gateway->sender != NULL;
}

static int
await_signal(const sigset_t *signals)
{
	int signal = SIGTERM;

	sigwait(signals, &signal);
	return signal;
}

static void
stop_gateway(Gateway *gateway)
{
	pthread_t enforcer;
	bool calm;

	if (gateway->sender != NULL)
		sender_refuse(gateway->sender);
	if (pthread_create(&enforcer, NULL, enforce_stop, gateway) == 0)
		pthread_detach(enforcer);
	if (gateway->feeds != NULL)
		feeds_stop(gateway->feeds);
	calm = server_drain(gateway->server, DRAIN_US);
	if (!calm)
		log_event(gateway->log, LOG_WARN, "cancelling running queries");
	for (int i = 0; i < CANCEL_TRIES && !calm; i++)
	{
		pool_cancel(gateway->pool);
		if (gateway->cluster != NULL)
			cluster_cancel(gateway->cluster);
		calm = server_drain(gateway->server, CANCEL_US);
	}
	server_stop(gateway->server);
	gateway->server = NULL;
}

static void
free_gateway(Gateway *gateway)
{
	if (gateway->feeds != NULL)
		feeds_free(gateway->feeds);
	if (gateway->sender != NULL)
		sender_stop(gateway->sender);
	if (gateway->cluster != NULL)
		cluster_stop(gateway->cluster);
	if (gateway->batch != NULL)
		batch_stop(gateway->batch);
	if (gateway->own_limit != NULL)
		own_limit_stop(gateway->own_limit);
	if (gateway->readiness != NULL)
		readiness_stop(gateway->readiness);
	if (gateway->pool != NULL)
		pool_stop(gateway->pool);
	if (gateway->keys != NULL)
		keys_free(gateway->keys);
	if (gateway->sources != NULL)
		sources_free(gateway->sources);
	if (gateway->tls != NULL)
		tls_free(gateway->tls);
	if (gateway->limits != NULL)
		limits_free(gateway->limits);
}

/* All threads inherit the mask, so only sigwait receives the signals. */
static bool
prepare_threads(sigset_t *signals)
{
	pthread_attr_t attributes;
	bool done;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_attr_init(&attributes);
	done = pthread_sigmask(SIG_BLOCK, signals, NULL) == 0 &&
		   pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES) == 0 &&
		   pthread_setattr_default_np(&attributes) == 0;
	pthread_attr_destroy(&attributes);
	return done;
}

/*
 * A thread that hangs in the resolver or on a dead network cannot be joined in
 * time. Nothing it does has been acknowledged, so the process just exits.
 */
static void *
enforce_stop(void *argument)
{
	Gateway *gateway = argument;

	sleep(STOP_SECS_MAX);
	log_event(gateway->log,
			  LOG_WARN,
			  "stopped without waiting for all threads");
	_exit(0);
}

static void
log_start(Gateway *gateway)
{
	Text members = {0};

	text_add_string(&members,
					"\"message\":\"starting\",\"version\":\"" GATEWAY_VERSION
					"\",");
	config_describe(gateway->config, &members);
	log_members(gateway->log, LOG_INFO, &members);
	text_free(&members);
}

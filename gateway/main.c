/*
 * main.c: msgstore-gateway: start order, and stop by signal.
 *
 * Start: settings, then pool and batch, then the listener, so that no request
 * meets a half-made gateway; then the sender, which needs none of them. Stop:
 * the other way round. First no request and no sending begins any more and
 * those in flight are answered, then the port is closed, then the sender, the
 * batch and the pool end. All of it fits into five seconds, because
 * whoever stops us will not wait longer. SIGHUP has the certificate read again.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "gateway.h"

/* Everything here is shallow but for name resolution inside connecting. */
#define THREAD_STACK_BYTES (512 * 1024)

/* Requests in flight get the first, those that hang are cancelled after it. */
#define DRAIN_US (1500 * 1000)
#define CANCEL_US (100 * 1000)
#define CANCEL_TRIES 5
#define STOP_SECS_MAX 4

static bool start_gateway(Gateway *gateway);
static bool start_door(Gateway *gateway, Text *error);
static bool check_keys(Gateway *gateway, Text *error);
static int await_end(Gateway *gateway, const sigset_t *signals);
static void reload_certificate(Gateway *gateway);
static bool start_sender(Gateway *gateway);
static void stop_gateway(Gateway *gateway);
static void free_gateway(Gateway *gateway);
static bool prepare_threads(sigset_t *signals);
static void *enforce_stop(void *argument);
static void log_start(Gateway *gateway);

int
main(int argc, char **argv)
{
	static Gateway gateway; /* threads point to it until the process ends */
	Text text = {0};
	sigset_t signals;
	int signal;
	bool started;

	log_init(&gateway.log);
	if (!config_load(&gateway.config, argc, argv, &text))
	{
		log_event(&gateway.log, LOG_ERROR, "%s", text.data ? text.data : "");
		text_free(&text);
		config_free(&gateway.config);
		return 1;
	}
	if (gateway.config.help)
	{
		config_help(&text);
		fputs(text.data != NULL ? text.data : "", stdout);
		text_free(&text);
		config_free(&gateway.config);
		return 0;
	}
	gateway.log.level = gateway.config.log_level;
	started = prepare_threads(&signals) && start_gateway(&gateway);
	if (started && !start_sender(&gateway))
	{
		server_stop(gateway.server);
		started = false;
	}
	if (started)
	{
		signal = await_end(&gateway, &signals);
		server_refuse(gateway.server);
		log_event(&gateway.log,
				  LOG_INFO,
				  "stopping on signal %s",
				  signal == SIGINT ? "INT" : "TERM");
		stop_gateway(&gateway);
		log_event(&gateway.log, LOG_INFO, "stopped");
	}
	free_gateway(&gateway);
	return started ? 0 : 1;
}

static bool
start_gateway(Gateway *gateway)
{
	Text error = {0};

	metrics_init(&gateway->metrics);
	provider_init(&gateway->provider, &gateway->config);
	gateway->limits = limits_create(&gateway->config, &gateway->metrics);
	gateway->pool = pool_create(&gateway->config, &gateway->log);
	if (gateway->pool != NULL)
		gateway->batch = batch_create(&gateway->config,
									  &gateway->log,
									  &gateway->metrics,
									  gateway->pool);
	if (gateway->limits == NULL || gateway->batch == NULL)
	{
		log_event(&gateway->log, LOG_ERROR, "out of memory or threads");
		return false;
	}
	log_start(gateway);
	if (start_door(gateway, &error))
		gateway->server = server_start(gateway, &error);
	if (gateway->server == NULL)
		log_event(&gateway->log,
				  LOG_ERROR,
				  "%s",
				  error.data != NULL ? error.data : "");
	else
		log_event(&gateway->log,
				  LOG_INFO,
				  "listening on %s:%ld",
				  gateway->config.host,
				  gateway->config.port);
	text_free(&error);
	return gateway->server != NULL;
}

/* Who may come in, and how. On failure error says why nobody can. */
static bool
start_door(Gateway *gateway, Text *error)
{
	const Config *config = &gateway->config;

	if (config->tls_cert[0] != '\0')
	{
		gateway->tls = tls_create(config, error);
		if (gateway->tls == NULL)
			return false;
	}
	else if (config->beyond_loopback && config->auth)
		log_event(&gateway->log,
				  LOG_WARN,
				  "keys are sent in clear text: give TLS_CERT and TLS_KEY, or "
				  "let a proxy with TLS stand in front");
	if (config->auth)
		gateway->keys = keys_create(config, &gateway->log, gateway->pool);
	else
		gateway->own_limit = own_limit_create(gateway->pool);
	if (gateway->keys == NULL && gateway->own_limit == NULL)
	{
		text_add_string(error, "out of memory or threads");
		return false;
	}
	return gateway->keys == NULL || check_keys(gateway, error);
}

/*
 * A gateway that nobody has a key for is of no use, and it is better said at
 * the start. Of a database that is away nothing is known: that is no reason to
 * stay away as well, because without a key nobody comes in anyway.
 */
static bool
check_keys(Gateway *gateway, Text *error)
{
	KeysThere there = keys_look(gateway->keys);

	if (there == KEYS_NOT_KNOWN)
		log_event(&gateway->log,
				  LOG_WARN,
				  "requests need keys; whether there are any is not known");
	if (there != KEYS_NONE)
		return true;
	if (gateway->config.beyond_loopback && !gateway->config.insecure)
	{
		text_add_string(error,
						"requests need keys and there are none: make one with "
						"msgstore.create_api_key, or say --insecure");
		return false;
	}
	log_event(&gateway->log,
			  LOG_WARN,
			  "requests need keys and there are none yet");
	return true;
}

/* Last, so that a gateway that cannot listen has sent nothing. */
static bool
start_sender(Gateway *gateway)
{
	if (!gateway->config.mock_sender)
		return true;
	gateway->sender = sender_create(&gateway->config,
									&gateway->log,
									&gateway->metrics,
									&gateway->provider);
	if (gateway->sender == NULL)
		log_event(&gateway->log, LOG_ERROR, "out of memory or threads");
	return gateway->sender != NULL;
}

/* Returns the signal that ends it. */
static int
await_end(Gateway *gateway, const sigset_t *signals)
{
	int signal;

	while (sigwait(signals, &signal) == 0 && signal == SIGHUP)
		reload_certificate(gateway);
	return signal;
}

static void
reload_certificate(Gateway *gateway)
{
	Text error = {0};

	if (gateway->tls == NULL)
		return;
	if (tls_reload(gateway->tls, &error))
		log_event(&gateway->log, LOG_INFO, "TLS certificate is read again");
	else
		log_event(&gateway->log,
				  LOG_ERROR,
				  "%s; the one from before stays in use",
				  error.data != NULL ? error.data : "out of memory");
	text_free(&error);
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
	calm = server_drain(gateway->server, DRAIN_US);
	if (!calm)
		log_event(&gateway->log, LOG_WARN, "cancelling what still runs");
	for (int i = 0; i < CANCEL_TRIES && !calm; i++)
	{
		pool_cancel(gateway->pool);
		calm = server_drain(gateway->server, CANCEL_US);
	}
	server_stop(gateway->server);
	gateway->server = NULL;
}

static void
free_gateway(Gateway *gateway)
{
	if (gateway->sender != NULL)
		sender_stop(gateway->sender);
	if (gateway->batch != NULL)
		batch_stop(gateway->batch);
	if (gateway->own_limit != NULL)
		own_limit_stop(gateway->own_limit);
	if (gateway->pool != NULL)
		pool_stop(gateway->pool);
	if (gateway->keys != NULL)
		keys_free(gateway->keys);
	if (gateway->tls != NULL)
		tls_free(gateway->tls);
	if (gateway->limits != NULL)
		limits_free(gateway->limits);
	metrics_free(&gateway->metrics);
	config_free(&gateway->config);
}

/* Every thread inherits the mask, so that only sigwait sees the signals. */
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
 * A thread that hangs in the resolver or in a dead network cannot be joined
 * in time. Nothing of what it does was acknowledged, so the end is abrupt.
 */
static void *
enforce_stop(void *argument)
{
	Gateway *gateway = argument;

	sleep(STOP_SECS_MAX);
	log_event(&gateway->log, LOG_WARN, "stopped without waiting any longer");
	_exit(0);
}

static void
log_start(Gateway *gateway)
{
	Text members = {0};

	text_add_string(&members, "\"message\":\"starting\",");
	config_describe(&gateway->config, &members);
	log_members(&gateway->log, LOG_INFO, &members);
	text_free(&members);
}

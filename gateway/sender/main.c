/*
 * main.c: msgstore-sender: starts, reloads and stops.
 *
 * At SIGTERM it claims nothing more and waits for the requests in flight, for a
 * limited time; another one ends it at once. SIGHUP reads the settings again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <curl/curl.h>

#include "config/describe.h"
#include "config/load.h"
#include "config/merge.h"
#include "sender/courier.h"
#include "sender/secret.h"

static atomic_bool stopping;
static atomic_bool reloading;
static int wake = -1;

static bool read_config(Config *config, int argc, char **argv, Log *log);
static int check(const Config *config, Log *log);
static bool check_secrets(const Config *config, Log *log, PGresult *accounts);
static int run(const Config *config, Log *log, int argc, char **argv);
static bool catch_signals(void);
static void on_signal(int number);
static void reload(Courier *courier, int argc, char **argv);
static void log_start(const Config *config, Log *log);

int
main(int argc, char **argv)
{
	static Config config;
	static Log log;
	int status = 1;

	log_init(&log);
	if (read_config(&config, argc, argv, &log))
	{
		if (config.action == CONFIG_CHECK)
			status = check(&config, &log);
		else if (config.action != CONFIG_RUN)
			status = config_answer(&config);
		else
			status = run(&config, &log, argc, argv);
	}
	config_free(&config);
	return status;
}

/* False if a setting is wrong. Names of secrets are no settings. */
static bool
read_config(Config *config, int argc, char **argv, Log *log)
{
	Text error = {0};
	bool valid = config_load(config, argc, argv, NULL, &error);
	const char *name = config->unknown.data;

	log->plain = config->action == CONFIG_CHECK;
	if (!valid)
		log_event(log, LOG_ERROR, "%s", error.data != NULL ? error.data : "");
	while (valid && name != NULL && *name != '\0')
	{
		size_t length = strcspn(name, "\n");

		if (strncmp(name, "SECRET_", 7) != 0)
			log_event(log,
					  LOG_WARN,
					  "\"%.*s\" in \"%s\" is not a setting of the sender",
					  (int) length,
					  name,
					  config->file);
		name += length + 1;
	}
	text_free(&error);
	return valid;
}

/* --check: whether the database answers and every account has its secret. */
static int
check(const Config *config, Log *log)
{
	Outbox outbox;
	PGresult *accounts = NULL;
	bool valid = outbox_init(&outbox, config, log, "", &stopping) &&
				 outbox_connect(&outbox) &&
				 store_list_accounts(&outbox, &accounts) == OUTBOX_DONE;

	if (valid && PQntuples(accounts) == 0)
		log_event(log,
				  LOG_WARN,
				  "there are no accounts: create one with "
				  "msgstore.create_account");
	if (valid)
		valid = check_secrets(config, log, accounts);
	PQclear(accounts);
	outbox_free(&outbox);
	puts(valid ? "ready" : "not ready: messages cannot be sent");
	return valid ? 0 : 1;
}

/* A mail server may need none, so what is missing is only a warning there. */
static bool
check_secrets(const Config *config, Log *log, PGresult *accounts)
{
	bool complete = true;

	for (int i = 0; i < PQntuples(accounts); i++)
	{
		const char *name = PQgetvalue(accounts, i, 1);
		bool needed = strcmp(PQgetvalue(accounts, i, 3), "t") == 0;
		Text secret = {0};

		if (strcmp(PQgetvalue(accounts, i, 2), "t") != 0 &&
			!secret_find(config, name, &secret))
		{
			log_event(log,
					  needed ? LOG_ERROR : LOG_WARN,
					  "secret \"%s\" of account \"%s\" is missing",
					  name,
					  PQgetvalue(accounts, i, 0));
			complete = complete && !needed;
		}
		secret_free(&secret);
	}
	return complete;
}

static int
run(const Config *config, Log *log, int argc, char **argv)
{
	static Courier courier;

	log->level = config->log_level;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !catch_signals() ||
		!courier_init(&courier, config, log, &stopping, wake))
	{
		log_event(log, LOG_ERROR, "out of memory or files");
		return 1;
	}
	log_start(config, log);
	while (!stopping)
	{
		courier_turn(&courier);
		if (reloading)
			reload(&courier, argc, argv);
	}
	log_event(log, LOG_INFO, "stopping");
	courier_stop(&courier);
	courier_free(&courier);
	log_event(log, LOG_INFO, "stopped");
	return 0;
}

static bool
catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	signal(SIGPIPE, SIG_IGN);
	return wake >= 0 && sigaction(SIGTERM, &action, NULL) == 0 &&
		   sigaction(SIGINT, &action, NULL) == 0 &&
		   sigaction(SIGHUP, &action, NULL) == 0;
}

static void
on_signal(int number)
{
	int error = errno;

	if (number == SIGHUP)
		reloading = true;
	else if (stopping)
		_exit(1);
	else
		stopping = true;
	eventfd_write(wake, 1);
	errno = error;
}

/* All or nothing. The old settings are kept: a session refers to them. */
static void
reload(Courier *courier, int argc, char **argv)
{
	Config *fresh = calloc(1, sizeof(*fresh));
	ConfigChanges changes = {0};
	Text error = {0};
	Text line = {0};
	eventfd_t ignored;

	reloading = false;
	eventfd_read(wake, &ignored);
	if (fresh == NULL ||
		!config_load(fresh, argc, argv, courier->config, &error) ||
		!config_merge(fresh, courier->config, &changes, &error))
	{
		log_event(courier->log,
				  LOG_ERROR,
				  "%s; still using the old settings",
				  error.data != NULL ? error.data : "out of memory");
		if (fresh != NULL)
			config_free(fresh);
		free(fresh);
	}
	else
	{
		courier->config = fresh;
		courier->log->level = fresh->log_level;
		text_addf(&line,
				  "\"message\":\"reloaded settings%s\",\"changed\":{%s}",
				  changes.restart.length > 0 ? "; some need a restart" : "",
				  changes.applied.length > 0 ? changes.applied.data : "");
		if (changes.restart.length > 0)
			text_addf(&line, ",\"need_restart\":[%s]", changes.restart.data);
		log_members(courier->log, LOG_INFO, &line);
	}
	text_free(&changes.applied);
	text_free(&changes.restart);
	text_free(&error);
	text_free(&line);
}

static void
log_start(const Config *config, Log *log)
{
	Text members = {0};

	text_add_string(&members,
					"\"message\":\"starting\",\"version\":\"" GATEWAY_VERSION
					"\",");
	config_describe(config, &members);
	log_members(log, LOG_INFO, &members);
	text_free(&members);
}

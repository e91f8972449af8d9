/*
 * reload.c: new settings and a new certificate for the running gateway.
 *
 * All or nothing: if a setting or a file is wrong, everything stays as it is.
 * Other threads may be reading the old settings, at any time and for as long as
 * a request takes, so they are kept until the gateway ends. They are small, and
 * a reload that changes nothing leaves nothing.
 */
#include <stdlib.h>

#include "config/load.h"
#include "config/merge.h"
#include "guard/limits.h"
#include "http/tls.h"
#include "log.h"
#include "reload.h"
#include "mock/sender.h"

static void apply(Gateway *gateway, const Config *fresh);
static void log_changes(Log *log, const ConfigChanges *changes);

Config *
reload(Gateway *gateway, Config *running, int argc, char **argv)
{
	Config *fresh = calloc(1, sizeof(*fresh));
	ConfigChanges changes = {0};
	Text error = {0};
	Config *latest = running;
	bool valid =
		fresh != NULL && config_load(fresh, argc, argv, running, &error) &&
		config_merge(fresh, running, &changes, &error) &&
		(gateway->tls == NULL || tls_reload(gateway->tls, fresh, &error));

	if (valid && gateway->tls != NULL)
		log_event(gateway->log, LOG_INFO, "reloaded TLS certificate");
	if (valid && changes.applied.length > 0)
	{
		fresh->older = running;
		apply(gateway, fresh);
		latest = fresh;
	}
	else if (fresh != NULL)
	{
		config_free(fresh);
		free(fresh);
	}
	if (valid)
		log_changes(gateway->log, &changes);
	else
		log_event(gateway->log,
				  LOG_ERROR,
				  "%s; still using the old %ssettings",
				  error.data != NULL ? error.data : "out of memory",
				  gateway->tls != NULL ? "certificate and " : "");
	text_free(&changes.applied);
	text_free(&changes.restart);
	text_free(&error);
	return latest;
}

void
reload_free(Config *latest, const Config *first)
{
	while (latest != first)
	{
		Config *older = latest->older;

		config_free(latest);
		free(latest);
		latest = older;
	}
}

static void
apply(Gateway *gateway, const Config *fresh)
{
	gateway->log->level = fresh->log_level;
	limits_reload(gateway->limits, fresh);
	if (gateway->sender != NULL)
		sender_reload(gateway->sender, fresh);
	gateway->config = fresh;
}

static void
log_changes(Log *log, const ConfigChanges *changes)
{
	Text members = {0};
	bool restart = changes->restart.length > 0;

	text_addf(&members,
			  "\"message\":\"reloaded settings%s\",\"changed\":{%s}",
			  restart ? "; some need a restart" : "",
			  changes->applied.length > 0 ? changes->applied.data : "");
	if (restart)
		text_addf(&members, ",\"need_restart\":[%s]", changes->restart.data);
	log_members(log, restart ? LOG_WARN : LOG_INFO, &members);
	text_free(&members);
}

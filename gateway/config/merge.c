/*
 * merge.c: new settings for a gateway that runs.
 *
 * The table of options says which settings can change. What has been derived
 * from the others stays as it was at the start.
 */
#include <stdlib.h>
#include <string.h>

#include "config/derive.h"
#include "config/describe.h"
#include "config/merge.h"
#include "config/options.h"

static bool
can_change(const Option *option, const Config *fresh, const Config *running);
static bool
differs(const Option *option, const Config *fresh, const Config *running);
static bool keep(const Option *option, Config *fresh, const Config *running);
static bool keep_text(char **target, const char *value);
static bool keep_derived(Config *fresh, const Config *running);
static void add_name(Text *names, const char *name);

bool
config_merge(Config *fresh,
			 const Config *running,
			 ConfigChanges *changes,
			 Text *error)
{
	bool done = true;

	for (size_t i = 0; i < option_count; i++)
	{
		const Option *option = &options[i];
		bool changed = differs(option, fresh, running);

		if (can_change(option, fresh, running))
		{
			if (changed)
				config_describe_option(fresh, option, &changes->applied);
			continue;
		}
		if (changed)
			add_name(&changes->restart, option->env);
		done = done && keep(option, fresh, running);
	}
	if (fresh->others.length != running->others.length ||
		(fresh->others.length > 0 &&
		 strcmp(fresh->others.data, running->others.data) != 0))
		add_name(&changes->restart, "variables of libpq");
	if (!done || !keep_derived(fresh, running))
	{
		text_add_string(error, "out of memory");
		return false;
	}
	return config_check_sizes(fresh, error);
}

/* A listener cannot begin or cease to use TLS. */
static bool
can_change(const Option *option, const Config *fresh, const Config *running)
{
	if (option->offset == offsetof(Config, tls_cert) ||
		option->offset == offsetof(Config, tls_key))
		return fresh->tls_cert[0] != '\0' && running->tls_cert[0] != '\0';
	return option->reloads;
}

static bool
differs(const Option *option, const Config *fresh, const Config *running)
{
	const void *a = option_value(fresh, option);
	const void *b = option_value(running, option);

	if (option_is_text(option))
		return strcmp(*(char *const *) a, *(char *const *) b) != 0;
	if (option->kind == OPTION_SWITCH)
		return *(const bool *) a != *(const bool *) b;
	return *(const long *) a != *(const long *) b;
}

static bool
keep(const Option *option, Config *fresh, const Config *running)
{
	void *target = option_value(fresh, option);
	const void *value = option_value(running, option);

	fresh->source[option - options] = running->source[option - options];
	if (option_is_text(option))
		return keep_text(target, *(char *const *) value);
	if (option->kind == OPTION_SWITCH)
		*(bool *) target = *(const bool *) value;
	else
		*(long *) target = *(const long *) value;
	return true;
}

/* The sender has no address. */
static bool
keep_text(char **target, const char *value)
{
	free(*target);
	*target = value != NULL ? strdup(value) : NULL;
	return value == NULL || *target != NULL;
}

static bool
keep_derived(Config *fresh, const Config *running)
{
	fresh->beyond_loopback = running->beyond_loopback;
	fresh->auth = running->auth;
	fresh->pool_min = running->pool_min;
	fresh->pool_max = running->pool_max;
	fresh->pool_acquire_timeout = running->pool_acquire_timeout;
	fresh->pool_idle_timeout = running->pool_idle_timeout;
	fresh->pool_max_lifetime = running->pool_max_lifetime;
	fresh->pool_connect_timeout = running->pool_connect_timeout;
	/* As at the start, so that a change is reported at each signal. */
	text_free(&fresh->others);
	text_add(&fresh->others, running->others.data, running->others.length);
	return keep_text(&fresh->address, running->address) &&
		   keep_text(&fresh->conninfo, running->conninfo) &&
		   !fresh->others.failed;
}

static void
add_name(Text *names, const char *name)
{
	text_add_string(names, names->length > 0 ? "," : "");
	text_add_json(names, name, strlen(name));
}

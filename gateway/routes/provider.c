/*
 * provider.c: the mock provider's routes: its inbound messages and its
 * configuration.
 */
#include <string.h>

#include <cjson/cJSON.h>

#include "gateway.h"
#include "http/body.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "routes/webhooks.h"
#include "mock/provider.h"

#define CHANNEL_MAX 64

static bool is_operators(Request *request);
static void reply_outcome(Request *request, Outcome outcome);
static void reply_config(Request *request);
static bool read_config(const Request *request, ProviderConfig *config);
static bool read_percent(const cJSON *body, const char *name, long *percent);
static bool read_seed(const cJSON *body, long *seed);

void
post_mock_inbound(Request *request)
{
	Gateway *gateway = request->gateway;
	char channel[CHANNEL_MAX];
	bool named =
		request_body_member(request, "channel", channel, sizeof(channel));
	ProviderName name = PROVIDER_SMS_MMS;
	Outcome outcome;

	request->mock = true;
	if (named && strcmp(channel, "email") == 0)
		name = PROVIDER_EMAIL;
	else if (!named ||
			 (strcmp(channel, "sms") != 0 && strcmp(channel, "mms") != 0))
	{
		/* No provider for it; the database decides whether it is valid. */
		metrics_add(gateway->metrics, METRIC_INVALID_ROUTING, 1);
		store_inbound(request, named ? channel : NULL, true);
		return;
	}
	outcome = provider_roll(gateway->provider, name);
	provider_count(gateway->metrics, name, outcome);
	if (outcome == OUTCOME_SUCCESS)
		store_inbound(request, channel, true);
	else
		reply_outcome(request, outcome);
}

void
get_mock_config(Request *request)
{
	if (is_operators(request))
		reply_config(request);
}

void
put_mock_config(Request *request)
{
	ProviderConfig config;

	if (!is_operators(request))
		return;
	if (!read_config(request, &config))
	{
		reply_error(request,
					400,
					"percentages must be whole numbers from 0 to 100 that add "
					"up to at most 100, and the seed a whole number or null");
		return;
	}
	provider_set_config(request->gateway->provider, &config);
	reply_config(request);
}

/* All tenants share the mock provider, so only operators configure it. */
static bool
is_operators(Request *request)
{
	if (request->caller.tenant[0] == '\0')
		return true;
	reply_forbidden(request, "path requires a key without a tenant");
	return false;
}

static void
reply_outcome(Request *request, Outcome outcome)
{
	int status = outcome == OUTCOME_TIMEOUT ? 504
				 : outcome == OUTCOME_ERROR ? 500
											: 429;

	reply_error(request, status, provider_describe(outcome));
	request->reply.retry_after = status == 429;
	request->reply.simulated = true;
}

static void
reply_config(Request *request)
{
	ProviderConfig config = provider_get_config(request->gateway->provider);
	Text body = {0};

	text_addf(&body,
			  "{\"timeout_pct\":%ld,\"error_pct\":%ld,\"ratelimit_pct\":%ld,"
			  "\"seed\":",
			  config.timeout_pct,
			  config.error_pct,
			  config.ratelimit_pct);
	if (config.seed >= 0)
		text_addf(&body, "%ld}", config.seed);
	else
		text_add_string(&body, "null}");
	reply_body(request, 200, NULL, &body);
}

static bool
read_config(const Request *request, ProviderConfig *config)
{
	cJSON *body =
		cJSON_ParseWithLength(request->body.data, request->body.length);
	bool valid;

	*config = (ProviderConfig){.seed = -1};
	valid = body != NULL &&
			read_percent(body, "timeout_pct", &config->timeout_pct) &&
			read_percent(body, "error_pct", &config->error_pct) &&
			read_percent(body, "ratelimit_pct", &config->ratelimit_pct) &&
			config->timeout_pct + config->error_pct + config->ratelimit_pct <=
				100 &&
			read_seed(body, &config->seed);
	cJSON_Delete(body);
	return valid;
}

/* A missing member means 0. */
static bool
read_percent(const cJSON *body, const char *name, long *percent)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(body, name);

	if (member == NULL)
		return true;
	if (!cJSON_IsNumber(member) || member->valuedouble < 0 ||
		member->valuedouble > 100 ||
		member->valuedouble != (double) (long) member->valuedouble)
		return false;
	*percent = (long) member->valuedouble;
	return true;
}

/*
 * Whole numbers up to 2^53 keep their value in JSON. A missing member means no
 * seed.
 */
static bool
read_seed(const cJSON *body, long *seed)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(body, "seed");

	if (member == NULL || cJSON_IsNull(member))
		return true;
	if (!cJSON_IsNumber(member) || member->valuedouble < 0 ||
		member->valuedouble > 9007199254740992.0 ||
		member->valuedouble != (double) (long) member->valuedouble)
		return false;
	*seed = (long) member->valuedouble;
	return true;
}

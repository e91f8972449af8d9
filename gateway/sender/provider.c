/*
 * provider.c: the mock provider: outcomes that are rolled, not met.
 *
 * Its inbound route and the mock sender behave like a provider that fails in
 * the given share of cases, so that clients can be tried out. A seed makes the
 * outcomes the same in every run; each provider has a stream of its own, so the
 * order in which two of them are used does not matter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cjson/cJSON.h>

#include "http/reply.h"
#include "routes/routes.h"

#define CHANNEL_MAX 64

static Metric first_metric(ProviderName name);
static bool is_operators(Request *request);
static void reply_outcome(Request *request, Outcome outcome);
static void reseed(Provider *provider);
static void reply_config(Request *request);
static bool read_percent(const cJSON *body, const char *name, long *percent);
static bool read_seed(const cJSON *body, long *seed);

bool
provider_init(Provider *provider, const Config *config)
{
	pthread_mutex_init(&provider->mutex, NULL);
	provider->general = config->provider;
	provider->each[PROVIDER_SMS_MMS] = config->provider_sms;
	provider->each[PROVIDER_EMAIL] = config->provider_email;
	reseed(provider);
	return true;
}

bool
provider_find(const char *text, ProviderName *name)
{
	static const char *const names[PROVIDER_COUNT] = {"sms-mms", "email"};

	for (int i = 0; i < PROVIDER_COUNT; i++)
	{
		if (strcmp(text, names[i]) == 0)
		{
			*name = (ProviderName) i;
			return true;
		}
	}
	return false;
}

Outcome
provider_roll(Provider *provider, ProviderName name)
{
	const ProviderConfig *config = &provider->each[name];
	uint64_t *state = &provider->states[name];
	Outcome outcome = OUTCOME_SUCCESS;
	int roll;

	pthread_mutex_lock(&provider->mutex);
	*state = *state * UINT64_C(6364136223846793005) + 1;
	roll = (int) (*state % 100);
	if (roll < config->timeout_pct)
		outcome = OUTCOME_TIMEOUT;
	else if (roll < config->timeout_pct + config->error_pct)
		outcome = OUTCOME_ERROR;
	else if (roll <
			 config->timeout_pct + config->error_pct + config->ratelimit_pct)
		outcome = OUTCOME_RATE_LIMITED;
	pthread_mutex_unlock(&provider->mutex);
	return outcome;
}

void
provider_count(Metrics *metrics, ProviderName name, Outcome outcome)
{
	Metric first = first_metric(name);
	int step = 1 + (int) (outcome == OUTCOME_TIMEOUT ? OUTCOME_ERROR : outcome);

	metrics_add(metrics, METRIC_DISPATCH_ATTEMPTS, 1);
	metrics_add(metrics, (Metric) (METRIC_DISPATCH_ATTEMPTS + step), 1);
	metrics_add(metrics, first, 1);
	metrics_add(metrics, (Metric) (first + step), 1);
}

void
provider_count_transition(Metrics *metrics, ProviderName name)
{
	metrics_add(metrics, (Metric) (first_metric(name) + 4), 1);
}

const char *
provider_describe(Outcome outcome)
{
	switch (outcome)
	{
		case OUTCOME_RATE_LIMITED:
			return "mock provider is rate limited";
		case OUTCOME_ERROR:
			return "mock provider failed";
		case OUTCOME_TIMEOUT:
			return "mock provider did not answer in time";
		case OUTCOME_SUCCESS:
			break;
	}
	return NULL;
}

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
		/* No provider carries it; what is wrong with it the database says. */
		metrics_add(&gateway->metrics, METRIC_INVALID_ROUTING, 1);
		store_inbound(request, named ? channel : NULL, true);
		return;
	}
	outcome = provider_roll(&gateway->provider, name);
	provider_count(&gateway->metrics, name, outcome);
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
	Provider *provider = &request->gateway->provider;
	ProviderConfig config = {.seed = -1};
	cJSON *body;
	bool valid;

	if (!is_operators(request))
		return;
	body = cJSON_ParseWithLength(request->body.data, request->body.length);
	valid =
		body != NULL &&
		read_percent(body, "timeout_pct", &config.timeout_pct) &&
		read_percent(body, "error_pct", &config.error_pct) &&
		read_percent(body, "ratelimit_pct", &config.ratelimit_pct) &&
		config.timeout_pct + config.error_pct + config.ratelimit_pct <= 100 &&
		read_seed(body, &config.seed);

	cJSON_Delete(body);
	if (!valid)
	{
		reply_error(request,
					400,
					"percentages are whole numbers from 0 to 100 and at most "
					"100 together, the seed is a whole number or null");
		return;
	}
	pthread_mutex_lock(&provider->mutex);
	provider->general = config;
	for (int i = 0; i < PROVIDER_COUNT; i++)
		provider->each[i] = config;
	reseed(provider);
	pthread_mutex_unlock(&provider->mutex);
	reply_config(request);
}

/* The provider is the gateway's own, and so that of all tenants. */
static bool
is_operators(Request *request)
{
	if (request->caller.tenant[0] == '\0')
		return true;
	reply_forbidden(request, "key of a tenant is not good for this path");
	return false;
}

/* Of the five of a provider. */
static Metric
first_metric(ProviderName name)
{
	return name == PROVIDER_EMAIL ? METRIC_EMAIL_ATTEMPTS
								  : METRIC_SMS_MMS_ATTEMPTS;
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
reseed(Provider *provider)
{
	for (int i = 0; i < PROVIDER_COUNT; i++)
	{
		long seed = provider->each[i].seed;

		if (seed >= 0)
			provider->states[i] = (uint64_t) seed;
		else if (getrandom(&provider->states[i], sizeof(uint64_t), 0) < 0)
			provider->states[i] = (uint64_t) i;
	}
}

static void
reply_config(Request *request)
{
	Provider *provider = &request->gateway->provider;
	ProviderConfig config;
	Text body = {0};

	pthread_mutex_lock(&provider->mutex);
	config = provider->general;
	pthread_mutex_unlock(&provider->mutex);
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

/* Absent means 0. */
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

/* Whole numbers up to 2^53 keep their value in JSON; absent means none. */
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

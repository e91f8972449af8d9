/*
 * provider.c: the mock provider: outcomes that are rolled, not met.
 *
 * Its inbound route behaves like a provider that fails in the given share of
 * cases, so that clients can be tried out. A seed makes the outcomes the same
 * in every run; each provider has a stream of its own, so the order in which
 * two of them are used does not matter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <cjson/cJSON.h>

#include "reply.h"
#include "routes.h"

#define CHANNEL_MAX 64

/* In the order of the provider's metrics, attempts left out. */
typedef enum Outcome
{
	OUTCOME_SUCCESS,
	OUTCOME_RATE_LIMITED,
	OUTCOME_ERROR,
	OUTCOME_TIMEOUT
} Outcome;

static Outcome roll_outcome(Provider *provider, ProviderName name);
static void count_outcome(Metrics *metrics, ProviderName name, Outcome outcome);
static void reply_outcome(Request *request, Outcome outcome);
static void reseed(Provider *provider);
static void reply_config(Request *request);
static bool read_percent(const cJSON *body, const char *name, int *percent);
static bool read_seed(const cJSON *body, bool *seeded, uint64_t *seed);

bool
provider_init(Provider *provider, const Config *config)
{
	pthread_mutex_init(&provider->mutex, NULL);
	provider->timeout_pct = (int) config->provider_timeout_pct;
	provider->error_pct = (int) config->provider_error_pct;
	provider->ratelimit_pct = (int) config->provider_ratelimit_pct;
	provider->seeded = config->provider_seed >= 0;
	provider->seed = (uint64_t) config->provider_seed;
	reseed(provider);
	return true;
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
	outcome = roll_outcome(&gateway->provider, name);
	count_outcome(&gateway->metrics, name, outcome);
	if (outcome == OUTCOME_SUCCESS)
		store_inbound(request, channel, true);
	else
		reply_outcome(request, outcome);
}

void
get_mock_config(Request *request)
{
	reply_config(request);
}

void
put_mock_config(Request *request)
{
	Provider *provider = &request->gateway->provider;
	cJSON *body =
		cJSON_ParseWithLength(request->body.data, request->body.length);
	int timeout = 0;
	int error = 0;
	int ratelimit = 0;
	bool seeded = false;
	uint64_t seed = 0;
	bool valid = body != NULL && read_percent(body, "timeout_pct", &timeout) &&
				 read_percent(body, "error_pct", &error) &&
				 read_percent(body, "ratelimit_pct", &ratelimit) &&
				 timeout + error + ratelimit <= 100 &&
				 read_seed(body, &seeded, &seed);

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
	provider->timeout_pct = timeout;
	provider->error_pct = error;
	provider->ratelimit_pct = ratelimit;
	provider->seeded = seeded;
	provider->seed = seed;
	reseed(provider);
	pthread_mutex_unlock(&provider->mutex);
	reply_config(request);
}

static Outcome
roll_outcome(Provider *provider, ProviderName name)
{
	Outcome outcome = OUTCOME_SUCCESS;
	uint64_t *state = &provider->states[name];
	int roll;

	pthread_mutex_lock(&provider->mutex);
	*state = *state * UINT64_C(6364136223846793005) + 1;
	roll = (int) (*state % 100);
	if (roll < provider->timeout_pct)
		outcome = OUTCOME_TIMEOUT;
	else if (roll < provider->timeout_pct + provider->error_pct)
		outcome = OUTCOME_ERROR;
	else if (roll < provider->timeout_pct + provider->error_pct +
						provider->ratelimit_pct)
		outcome = OUTCOME_RATE_LIMITED;
	pthread_mutex_unlock(&provider->mutex);
	return outcome;
}

/* A time-out counts as an error. */
static void
count_outcome(Metrics *metrics, ProviderName name, Outcome outcome)
{
	Metric first = name == PROVIDER_EMAIL ? METRIC_EMAIL_ATTEMPTS
										  : METRIC_SMS_MMS_ATTEMPTS;
	int step = 1 + (int) (outcome == OUTCOME_TIMEOUT ? OUTCOME_ERROR : outcome);

	metrics_add(metrics, METRIC_DISPATCH_ATTEMPTS, 1);
	metrics_add(metrics, (Metric) (METRIC_DISPATCH_ATTEMPTS + step), 1);
	metrics_add(metrics, first, 1);
	metrics_add(metrics, (Metric) (first + step), 1);
}

static void
reply_outcome(Request *request, Outcome outcome)
{
	if (outcome == OUTCOME_TIMEOUT)
		reply_error(request, 504, "mock provider did not answer in time");
	else if (outcome == OUTCOME_ERROR)
		reply_error(request, 500, "mock provider failed");
	else
	{
		reply_error(request, 429, "mock provider is rate limited");
		request->reply.retry_after = 1;
	}
	request->reply.simulated = true;
}

static void
reseed(Provider *provider)
{
	for (int i = 0; i < PROVIDER_COUNT; i++)
	{
		provider->states[i] = provider->seed;
		if (!provider->seeded &&
			getrandom(&provider->states[i], sizeof(uint64_t), 0) < 0)
			provider->states[i] = (uint64_t) i;
	}
}

static void
reply_config(Request *request)
{
	Provider *provider = &request->gateway->provider;
	Text body = {0};

	pthread_mutex_lock(&provider->mutex);
	text_addf(&body,
			  "{\"timeout_pct\":%d,\"error_pct\":%d,\"ratelimit_pct\":%d,"
			  "\"seed\":",
			  provider->timeout_pct,
			  provider->error_pct,
			  provider->ratelimit_pct);
	if (provider->seeded)
		text_addf(&body, "%llu}", (unsigned long long) provider->seed);
	else
		text_add_string(&body, "null}");
	pthread_mutex_unlock(&provider->mutex);
	reply_body(request, 200, NULL, &body);
}

/* Absent means 0. */
static bool
read_percent(const cJSON *body, const char *name, int *percent)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(body, name);

	if (member == NULL)
		return true;
	if (!cJSON_IsNumber(member) || member->valuedouble < 0 ||
		member->valuedouble > 100 ||
		member->valuedouble != (double) (int) member->valuedouble)
		return false;
	*percent = (int) member->valuedouble;
	return true;
}

/* Whole numbers up to 2^53 keep their value in JSON; absent means none. */
static bool
read_seed(const cJSON *body, bool *seeded, uint64_t *seed)
{
	const cJSON *member = cJSON_GetObjectItemCaseSensitive(body, "seed");

	if (member == NULL || cJSON_IsNull(member))
		return true;
	if (!cJSON_IsNumber(member) || member->valuedouble < 0 ||
		member->valuedouble > 9007199254740992.0 ||
		member->valuedouble != (double) (uint64_t) member->valuedouble)
		return false;
	*seeded = true;
	*seed = (uint64_t) member->valuedouble;
	return true;
}

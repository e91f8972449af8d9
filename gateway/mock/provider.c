/*
 * provider.c: the mock provider: outcomes by chance, in configured shares.
 *
 * The mock's inbound route and the mock sender fail as often as configured, so
 * that clients can be tested against failures. A seed makes the outcomes the
 * same in every run. Each provider has its own random sequence, so the order in
 * which two providers are used does not matter.
 */
#include <string.h>
#include <sys/random.h>

#include "mock/provider.h"

static Metric first_metric(ProviderName name);
static void reseed(Provider *provider);

void
provider_init(Provider *provider, const Config *config)
{
	pthread_mutex_init(&provider->mutex, NULL);
	provider->general = config->provider;
	provider->each[PROVIDER_SMS_MMS] = config->provider_sms;
	provider->each[PROVIDER_EMAIL] = config->provider_email;
	reseed(provider);
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

ProviderConfig
provider_get_config(Provider *provider)
{
	ProviderConfig config;

	pthread_mutex_lock(&provider->mutex);
	config = provider->general;
	pthread_mutex_unlock(&provider->mutex);
	return config;
}

void
provider_set_config(Provider *provider, const ProviderConfig *config)
{
	pthread_mutex_lock(&provider->mutex);
	provider->general = *config;
	for (int i = 0; i < PROVIDER_COUNT; i++)
		provider->each[i] = *config;
	reseed(provider);
	pthread_mutex_unlock(&provider->mutex);
}

/* The first of the provider's five metrics. */
static Metric
first_metric(ProviderName name)
{
	return name == PROVIDER_EMAIL ? METRIC_EMAIL_ATTEMPTS
								  : METRIC_SMS_MMS_ATTEMPTS;
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

/*
 * provider.h: the mock provider: outcomes that are rolled, not met.
 */
#ifndef PROVIDER_H
#define PROVIDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "metrics.h"

typedef enum ProviderName
{
	PROVIDER_SMS_MMS,
	PROVIDER_EMAIL,
	PROVIDER_COUNT
} ProviderName;

/* In the order of the provider's metrics, attempts left out. */
typedef enum Outcome
{
	OUTCOME_SUCCESS,
	OUTCOME_RATE_LIMITED,
	OUTCOME_ERROR,
	OUTCOME_TIMEOUT
} Outcome;

typedef struct Provider
{
	pthread_mutex_t mutex;	/* guards everything below */
	ProviderConfig general; /* what the configuration's route shows */
	ProviderConfig each[PROVIDER_COUNT];
	uint64_t states[PROVIDER_COUNT]; /* one stream of rolls a provider */
} Provider;

bool provider_init(Provider *provider, const Config *config);

/* False if there is no provider of that name. */
bool provider_find(const char *text, ProviderName *name);

/* What becomes of the next message that this provider is given. */
Outcome provider_roll(Provider *provider, ProviderName name);

/* Counts an attempt and its outcome, a time-out as an error. */
void provider_count(Metrics *metrics, ProviderName name, Outcome outcome);

/* Counts that its breaker has opened or closed. */
void provider_count_transition(Metrics *metrics, ProviderName name);

/* What the provider says to it, in words; NULL for a success. */
const char *provider_describe(Outcome outcome);

#endif /* PROVIDER_H */

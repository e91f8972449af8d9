/*
 * provider.h: the mock provider: outcomes by chance, in configured shares.
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

/* In the order of the provider's metrics, without attempts. */
typedef enum Outcome
{
	OUTCOME_SUCCESS,
	OUTCOME_RATE_LIMITED,
	OUTCOME_ERROR,
	OUTCOME_TIMEOUT
} Outcome;

typedef struct Provider
{
	pthread_mutex_t mutex;	/* guards the members below */
	ProviderConfig general; /* shown by the configuration's route */
	ProviderConfig each[PROVIDER_COUNT];
	uint64_t states[PROVIDER_COUNT]; /* of each random sequence */
} Provider;

void provider_init(Provider *provider, const Config *config);

/* Returns false if no provider has that name. */
bool provider_find(const char *text, ProviderName *name);

/* The outcome of the provider's next message. */
Outcome provider_roll(Provider *provider, ProviderName name);

/* Counts an attempt and its outcome; a timeout counts as an error. */
void provider_count(Metrics *metrics, ProviderName name, Outcome outcome);

/* Counts that the provider's breaker opened or closed. */
void provider_count_transition(Metrics *metrics, ProviderName name);

/* The outcome's error message; NULL for a success. */
const char *provider_describe(Outcome outcome);

/* The common configuration; setting it restarts the random sequences. */
ProviderConfig provider_get_config(Provider *provider);
void provider_set_config(Provider *provider, const ProviderConfig *config);

#endif /* PROVIDER_H */

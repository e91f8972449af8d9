/*
 * provider.h: the mock provider: outcomes that are rolled, not met.
 */
#ifndef PROVIDER_H
#define PROVIDER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"

typedef enum ProviderName
{
	PROVIDER_SMS_MMS,
	PROVIDER_EMAIL,
	PROVIDER_COUNT
} ProviderName;

typedef struct Provider
{
	pthread_mutex_t mutex; /* guards everything below */
	int timeout_pct;
	int error_pct;
	int ratelimit_pct;
	bool seeded;
	uint64_t seed;
	uint64_t states[PROVIDER_COUNT]; /* one stream of rolls a provider */
} Provider;

bool provider_init(Provider *provider, const Config *config);

#endif /* PROVIDER_H */

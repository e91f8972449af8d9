/*
 * breaker.h: something that fails repeatedly is left alone for a while.
 */
#ifndef BREAKER_H
#define BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

/* Zeros are a closed breaker. Whoever shares one guards it. */
typedef struct Breaker
{
	long errors;	  /* in a row */
	long successes;	  /* in a row, since it is half-open */
	int64_t until_us; /* 0: closed; else open until then, then half-open */
	bool probing;	  /* half-open, and one try is on its way */
} Breaker;

typedef enum BreakerVerdict
{
	BREAKER_SUCCESS,
	BREAKER_FAILURE,
	BREAKER_NEITHER /* says nothing about what the breaker guards */
} BreakerVerdict;

/* May it be tried? If not, retry_after is in seconds. */
bool breaker_enter(Breaker *breaker, long *retry_after);

/*
 * How the try ended; every one that was allowed must say so. Returns true if
 * the breaker has opened or closed by it.
 */
bool
breaker_leave(Breaker *breaker, const Config *config, BreakerVerdict verdict);

#endif /* BREAKER_H */

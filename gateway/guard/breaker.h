/*
 * breaker.h: a circuit breaker: pauses an operation that fails repeatedly.
 */
#ifndef BREAKER_H
#define BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

/* All zeros: closed. A caller that shares one between threads locks it. */
typedef struct Breaker
{
	long errors;	  /* consecutive */
	long successes;	  /* consecutive, since it is half-open */
	int64_t until_us; /* 0: closed; else open until then, then half-open */
	bool probing;	  /* half-open, and one attempt is running */
} Breaker;

typedef enum BreakerVerdict
{
	BREAKER_SUCCESS,
	BREAKER_FAILURE,
	BREAKER_NEITHER /* says nothing about the operation */
} BreakerVerdict;

/* True if the operation may be tried; otherwise sets retry_after, in s. */
bool breaker_enter(Breaker *breaker, long *retry_after);

/*
 * Reports the outcome; every allowed attempt must. Returns true if the breaker
 * opened or closed.
 */
bool
breaker_leave(Breaker *breaker, const Config *config, BreakerVerdict verdict);

#endif /* BREAKER_H */

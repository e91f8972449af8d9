/*
 * breaker.c: a circuit breaker: pauses an operation that fails repeatedly.
 *
 * A closed breaker counts consecutive failures and opens at the threshold.
 * After its time it is half-open and allows one attempt at a time. The
 * configured number of consecutive successes closes it, so that an operation
 * that works only sometimes does not make it flap; a failure opens it again.
 */
#include "clock.h"
#include "guard/breaker.h"

bool
breaker_enter(Breaker *breaker, long *retry_after)
{
	int64_t left = breaker->until_us - clock_us();

	if (breaker->until_us == 0)
		return true;
	if (left <= 0 && !breaker->probing)
	{
		breaker->probing = true;
		return true;
	}
	*retry_after = breaker->probing ? 1 : (long) (left / SECOND_US) + 1;
	return false;
}

bool
breaker_leave(Breaker *breaker, const Config *config, BreakerVerdict verdict)
{
	bool probing = breaker->probing;

	breaker->probing = false;
	switch (verdict)
	{
		case BREAKER_NEITHER:
			return false;
		case BREAKER_SUCCESS:
			breaker->errors = 0;
			if (!probing ||
				++breaker->successes < config->breaker_half_open_successes)
				return false;
			breaker->until_us = 0;
			breaker->successes = 0;
			return true;
		case BREAKER_FAILURE:
			breaker->errors++;
			if (!probing && (breaker->until_us != 0 ||
							 breaker->errors < config->breaker_error_threshold))
				return false;
			breaker->until_us = clock_us() + config->breaker_open * SECOND_US;
			breaker->successes = 0;
			return true;
	}
	return false;
}

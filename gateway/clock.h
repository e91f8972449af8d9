/*
 * clock.h: the monotonic clock that all deadlines of the gateway use.
 *
 * Wall-clock time can jump, which must neither shorten nor extend a wait.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)

/* Microseconds since an arbitrary start. */
static inline int64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * SECOND_US + now.tv_nsec / 1000;
}

/* The same instant in the form that pthread_cond_timedwait takes. */
static inline struct timespec
clock_timespec(int64_t us)
{
	struct timespec at;

	at.tv_sec = (time_t) (us / SECOND_US);
	at.tv_nsec = (long) (us % SECOND_US) * 1000;
	return at;
}

/* A condition whose timed waits end by this clock. */
static inline void
clock_init_condition(pthread_cond_t *condition)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(condition, &attributes);
	pthread_condattr_destroy(&attributes);
}

#endif /* CLOCK_H */

/*
 * limits.h: how many requests, and routes that rest when they fail.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "metrics.h"

/* Breakers are numbered by the routes. */
#define LIMITS_BREAKERS_MAX 32

typedef struct Limits Limits;

typedef enum LimitKind
{
	LIMIT_IP,
	LIMIT_SENDER,
	LIMIT_TENANT
} LimitKind;

/* One request counted against one window; zeros: nothing was counted. */
typedef struct LimitTicket
{
	uint64_t key[2];
	int64_t window_us; /* start of the window */
} LimitTicket;

Limits *limits_create(const Config *config, Metrics *metrics);
void limits_free(Limits *limits);

/*
 * Counts one request of that name. Returns false if the minute's limit is
 * reached; reset is the number of seconds until its window ends.
 */
bool limits_take(Limits *limits,
				 LimitKind kind,
				 const char *name,
				 long limit,
				 LimitTicket *ticket,
				 long *reset);

/*
 * Takes one of the requests that the tenant has saved up: rate a second, and
 * never more than burst. If there is none, retry_after is in seconds.
 */
bool limits_take_tenant(Limits *limits,
						const char *tenant,
						long rate,
						long burst,
						long *retry_after);

/* Takes a count back: what was refused later does not use up the limit. */
void limits_give_back(Limits *limits, const LimitTicket *ticket);

/* May the route be tried? If not, retry_after is in seconds. */
bool limits_enter_breaker(Limits *limits, int route, long *retry_after);

/* How the try ended; every entered request must say so. */
void limits_leave_breaker(Limits *limits, int route, int status);

#endif /* LIMITS_H */

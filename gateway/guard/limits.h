/*
 * limits.h: rate limits of requests, and the routes' breakers.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include <stdbool.h>

#include "caller.h"
#include "config/config.h"
#include "metrics.h"

/* There is one breaker for each route, with its number. */
#define LIMITS_BREAKERS_MAX 96

typedef struct Limits Limits;

typedef enum LimitKind
{
	LIMIT_IP,
	LIMIT_SENDER,
	LIMIT_TENANT
} LimitKind;

Limits *limits_create(const Config *config, Metrics *metrics);
void limits_free(Limits *limits);

/* Uses the new settings of breakers from now on. */
void limits_reload(Limits *limits, const Config *config);

/*
 * Counts one request under that name. Returns false if the limit per minute is
 * reached; reset is the number of seconds until the window ends.
 */
bool limits_take(Limits *limits,
				 LimitKind kind,
				 const char *name,
				 long limit,
				 LimitTicket *ticket,
				 long *reset);

/*
 * Takes one token from the tenant's bucket, which gains "rate" tokens a second
 * and holds at most "burst". Returns false if it is empty; retry_after is the
 * number of seconds until there is one.
 */
bool limits_take_tenant(Limits *limits,
						const char *tenant,
						long rate,
						long burst,
						long *retry_after);

/* Uncounts a request that was refused later, so that it costs nothing. */
void limits_give_back(Limits *limits, const LimitTicket *ticket);

/* True if the route may be tried; otherwise sets retry_after, in seconds. */
bool limits_enter_breaker(Limits *limits, int route, long *retry_after);

/* Reports the status; every request that entered must. */
void limits_leave_breaker(Limits *limits, int route, int status);

#endif /* LIMITS_H */

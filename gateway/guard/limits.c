/*
 * limits.c: rate limits of requests, and the routes' breakers.
 *
 * Addresses and senders have fixed windows: 60 s from the first request. Names
 * are kept as keyed hashes in a table of fixed size, so clients cannot make it
 * grow; when a bucket is full, its oldest window is dropped. The table belongs
 * to this process: two gateways have separate budgets.
 *
 * A tenant has a token bucket. Each request brings the tenant's limit along, so
 * a new limit takes effect at once.
 *
 * A route's breaker counts internal errors only. While the database is away,
 * requests fail fast with 503 and must succeed as soon as it is back, so 503
 * neither opens nor closes a breaker.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "clock.h"
#include "guard/breaker.h"
#include "guard/limits.h"

#define WINDOW_US (60 * SECOND_US)
#define BUCKETS 8192 /* a power of two */
#define PLACES 8	 /* of a bucket: 65536 names, 2.6 MB */
#define TENANTS 1024 /* times PLACES, 260 kB */

typedef struct Window
{
	uint64_t key[2];
	int64_t start_us; /* 0: free */
	long count;
} Window;

typedef struct Allowance
{
	uint64_t key[2];
	int64_t at_us; /* when "saved" was computed; 0: free */
	double saved;  /* tokens */
} Allowance;

struct Limits
{
	Metrics *metrics;
	uint64_t seed[2]; /* makes hashes unpredictable */

	pthread_mutex_t mutex; /* guards the members below */
	const Config *config;
	Window (*windows)[PLACES];
	Allowance (*allowances)[PLACES];
	Breaker breakers[LIMITS_BREAKERS_MAX];
};

static void hash_name(const Limits *limits,
					  LimitKind kind,
					  const char *name,
					  uint64_t key[2]);
static uint64_t mix(uint64_t value);
static Window *find_window(Limits *limits, const uint64_t key[2], int64_t now);
static Allowance *
find_allowance(Limits *limits, const uint64_t key[2], double burst);

Limits *
limits_create(const Config *config, Metrics *metrics)
{
	Limits *limits = calloc(1, sizeof(*limits));

	if (limits == NULL)
		return NULL;
	limits->config = config;
	limits->metrics = metrics;
	pthread_mutex_init(&limits->mutex, NULL);
	limits->windows = calloc(BUCKETS, sizeof(*limits->windows));
	limits->allowances = calloc(TENANTS, sizeof(*limits->allowances));
	if (limits->windows == NULL || limits->allowances == NULL ||
		getrandom(limits->seed, sizeof(limits->seed), 0) !=
			sizeof(limits->seed))
	{
		limits_free(limits);
		return NULL;
	}
	return limits;
}

void
limits_free(Limits *limits)
{
	pthread_mutex_destroy(&limits->mutex);
	free(limits->windows);
	free(limits->allowances);
	free(limits);
}

void
limits_reload(Limits *limits, const Config *config)
{
	pthread_mutex_lock(&limits->mutex);
	limits->config = config;
	pthread_mutex_unlock(&limits->mutex);
}

bool
limits_take(Limits *limits,
			LimitKind kind,
			const char *name,
			long limit,
			LimitTicket *ticket,
			long *reset)
{
	int64_t now = clock_us();
	Window *window;
	bool granted;

	hash_name(limits, kind, name, ticket->key);
	pthread_mutex_lock(&limits->mutex);
	window = find_window(limits, ticket->key, now);
	granted = window->count < limit;
	if (granted)
		window->count++;
	ticket->window_us = granted ? window->start_us : 0;
	*reset = (long) ((window->start_us + WINDOW_US - now) / SECOND_US) + 1;
	pthread_mutex_unlock(&limits->mutex);
	return granted;
}

bool
limits_take_tenant(Limits *limits,
				   const char *tenant,
				   long rate,
				   long burst,
				   long *retry_after)
{
	int64_t now = clock_us();
	uint64_t key[2];
	Allowance *allowance;
	double saved;
	bool granted;

	hash_name(limits, LIMIT_TENANT, tenant, key);
	pthread_mutex_lock(&limits->mutex);
	allowance = find_allowance(limits, key, (double) burst);
	saved = allowance->saved;
	if (allowance->at_us != 0 && now > allowance->at_us)
		saved += (double) (now - allowance->at_us) * (double) rate / SECOND_US;
	if (saved > (double) burst)
		saved = (double) burst;
	granted = saved >= 1;
	allowance->saved = granted ? saved - 1 : saved;
	allowance->at_us = now;
	pthread_mutex_unlock(&limits->mutex);
	*retry_after = (long) ((1 - saved) / (double) rate) + 1;
	return granted;
}

void
limits_give_back(Limits *limits, const LimitTicket *ticket)
{
	Window *window;

	if (ticket->window_us == 0)
		return;
	pthread_mutex_lock(&limits->mutex);
	window = find_window(limits, ticket->key, clock_us());
	if (window->start_us == ticket->window_us && window->count > 0)
		window->count--;
	pthread_mutex_unlock(&limits->mutex);
}

bool
limits_enter_breaker(Limits *limits, int route, long *retry_after)
{
	bool entered;

	pthread_mutex_lock(&limits->mutex);
	entered = breaker_enter(&limits->breakers[route], retry_after);
	pthread_mutex_unlock(&limits->mutex);
	if (!entered)
		metrics_add(limits->metrics, METRIC_BREAKER_OPEN, 1);
	return entered;
}

void
limits_leave_breaker(Limits *limits, int route, int status)
{
	BreakerVerdict verdict = status == 500	? BREAKER_FAILURE
							 : status < 500 ? BREAKER_SUCCESS
											: BREAKER_NEITHER;
	bool changed;

	pthread_mutex_lock(&limits->mutex);
	changed = breaker_leave(&limits->breakers[route], limits->config, verdict);
	pthread_mutex_unlock(&limits->mutex);
	if (changed)
		metrics_add(limits->metrics, METRIC_BREAKER_TRANSITIONS, 1);
}

/* Two keyed hashes of 64 bits: a collision of both is not expected. */
static void
hash_name(const Limits *limits,
		  LimitKind kind,
		  const char *name,
		  uint64_t key[2])
{
	for (int i = 0; i < 2; i++)
	{
		uint64_t hash = mix(limits->seed[i] + (uint64_t) kind + 1);

		for (const char *c = name; *c != '\0'; c++)
			hash = mix(hash ^ (unsigned char) *c);
		key[i] = hash;
	}
}

/* The finalizer of splitmix64. */
static uint64_t
mix(uint64_t value)
{
	value += UINT64_C(0x9e3779b97f4a7c15);
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

/* The current window of that name, which may be new. */
static Window *
find_window(Limits *limits, const uint64_t key[2], int64_t now)
{
	Window *places = limits->windows[key[0] % BUCKETS];
	Window *place = &places[0];

	for (int i = 0; i < PLACES; i++)
	{
		if (places[i].start_us != 0 && places[i].key[0] == key[0] &&
			places[i].key[1] == key[1])
		{
			place = &places[i];
			if (now - place->start_us < WINDOW_US)
				return place;
			break;
		}
		if (places[i].start_us < place->start_us)
			place = &places[i];
	}
	place->key[0] = key[0];
	place->key[1] = key[1];
	place->start_us = now;
	place->count = 0;
	return place;
}

/*
 * The tenant's bucket; a new one is full. If there is no free place, the tenant
 * that has been idle longest loses its bucket, which is the fullest anyway.
 */
static Allowance *
find_allowance(Limits *limits, const uint64_t key[2], double burst)
{
	Allowance *places = limits->allowances[key[0] % TENANTS];
	Allowance *place = &places[0];

	for (int i = 0; i < PLACES; i++)
	{
		if (places[i].at_us != 0 && places[i].key[0] == key[0] &&
			places[i].key[1] == key[1])
			return &places[i];
		if (places[i].at_us < place->at_us)
			place = &places[i];
	}
	*place = (Allowance){.key = {key[0], key[1]}, .saved = burst};
	return place;
}

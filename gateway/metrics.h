/*
 * metrics.h: what the gateway counts about itself.
 */
#ifndef METRICS_H
#define METRICS_H

#include <pthread.h>
#include <stdatomic.h>

/* In the order of the table in metrics.c. */
typedef enum Metric
{
	METRIC_RATE_LIMITED,
	METRIC_UNAUTHORIZED,
	METRIC_BREAKER_OPEN,
	METRIC_BREAKER_TRANSITIONS,
	METRIC_DISPATCH_ATTEMPTS,
	METRIC_DISPATCH_SUCCESS,
	METRIC_DISPATCH_RATE_LIMITED,
	METRIC_DISPATCH_ERROR,
	METRIC_SMS_MMS_ATTEMPTS, /* the five of a provider stay together */
	METRIC_SMS_MMS_SUCCESS,
	METRIC_SMS_MMS_RATE_LIMITED,
	METRIC_SMS_MMS_ERROR,
	METRIC_SMS_MMS_BREAKER_TRANSITIONS,
	METRIC_EMAIL_ATTEMPTS,
	METRIC_EMAIL_SUCCESS,
	METRIC_EMAIL_RATE_LIMITED,
	METRIC_EMAIL_ERROR,
	METRIC_EMAIL_BREAKER_TRANSITIONS,
	METRIC_INVALID_ROUTING,
	METRIC_HTTP_REQUESTS,
	METRIC_HTTP_2XX,
	METRIC_HTTP_4XX,
	METRIC_HTTP_5XX,
	METRIC_HTTP_CONNECTIONS,
	METRIC_HTTP_CONNECTIONS_REFUSED,
	METRIC_BATCHES,
	METRIC_BATCHES_SPLIT,
	METRIC_COUNT
} Metric;

typedef struct Metrics
{
	atomic_llong values[METRIC_COUNT];

	pthread_mutex_t mutex; /* guards what follows */
	char *last_known;	   /* the database's metrics when it was last asked */
	char *last_detail;	   /* and its metrics_detail */
} Metrics;

void metrics_init(Metrics *metrics);
void metrics_free(Metrics *metrics);
void metrics_add(Metrics *metrics, Metric metric, long long amount);

#endif /* METRICS_H */

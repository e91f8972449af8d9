/*
 * metrics.h: the gateway's own counters.
 *
 * routes/metrics.c shows them together with those of the database.
 */
#ifndef METRICS_H
#define METRICS_H

#include <pthread.h>
#include <stdatomic.h>

/* routes/metric_names.c names them. */
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
	METRIC_SMS_MMS_ATTEMPTS, /* keep the five of each provider together */
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
	METRIC_HTTP_BUFFER_REFUSED,
	METRIC_BATCHES,
	METRIC_BATCHES_SPLIT,
	METRIC_WEBHOOKS_REFUSED_MALFORMED,
	METRIC_WEBHOOKS_REFUSED_INVALID,
	METRIC_WEBHOOKS_REFUSED_UNKNOWN_CHANNEL,
	METRIC_WEBHOOKS_REFUSED_CONFLICT,
	METRIC_WEBHOOKS_REFUSED_TOO_LARGE,
	METRIC_WEBHOOKS_REFUSED_MEDIA_TYPE,
	METRIC_WEBHOOKS_REFUSED_RATE_LIMITED,
	METRIC_WEBHOOKS_REFUSED_UNAUTHORIZED,
	METRIC_BATCH_WAITING,
	METRIC_COUNT
} Metric;

typedef struct Metrics
{
	atomic_llong values[METRIC_COUNT];

	pthread_mutex_t mutex; /* guards the members below */
	char *last_known;	   /* the database's last metrics(), JSON or NULL */
	char *last_detail;	   /* its last metrics_detail(), JSON or NULL */
} Metrics;

void metrics_init(Metrics *metrics);
void metrics_free(Metrics *metrics);
void metrics_add(Metrics *metrics, Metric metric, long long amount);

#endif /* METRICS_H */

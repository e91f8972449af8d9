/*
 * metrics.c: the gateway's own counters.
 *
 * They start at 0 with the process and are added to without a lock.
 */
#include <stdlib.h>

#include "metrics.h"

void
metrics_init(Metrics *metrics)
{
	for (int i = 0; i < METRIC_COUNT; i++)
		atomic_init(&metrics->values[i], 0);
	pthread_mutex_init(&metrics->mutex, NULL);
}

void
metrics_free(Metrics *metrics)
{
	pthread_mutex_destroy(&metrics->mutex);
	free(metrics->last_known);
	free(metrics->last_detail);
}

void
metrics_add(Metrics *metrics, Metric metric, long long amount)
{
	atomic_fetch_add_explicit(&metrics->values[metric],
							  amount,
							  memory_order_relaxed);
}

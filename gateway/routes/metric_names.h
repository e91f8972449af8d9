/*
 * metric_names.h: names, types and descriptions of all metrics without labels.
 */
#ifndef METRIC_NAMES_H
#define METRIC_NAMES_H

#include <stddef.h>

#include "metrics.h"

typedef struct MetricName
{
	const char *name;
	const char *type; /* of Prometheus */
	const char *help;
} MetricName;

/* The gateway's own counters, in the order of enum Metric. */
extern const MetricName own_metrics[METRIC_COUNT];

/*
 * The database's metrics that are always shown, with 0 if it has not answered
 * yet. Others that it reports are shown as well.
 */
extern const MetricName database_metrics[];
extern const size_t database_metrics_count;

/* Never NULL: an unknown name has the type "untyped". */
const MetricName *metric_name_find(const char *name);

#endif /* METRIC_NAMES_H */

/*
 * metric_names.h: names, types and descriptions of all metrics of the flat
 * JSON object, and what they are called in the Prometheus text.
 */
#ifndef METRIC_NAMES_H
#define METRIC_NAMES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct MetricName
{
	const char *name;	/* in JSON */
	const char *family; /* in the text, after "msgstore_"; NULL: not there */
	const char *labels; /* of its sample in the family; NULL: none */
	const char *type;	/* the same for all of a family, like help */
	const char *help;
	double divisor; /* from the unit of JSON to that of the text */
	bool of_database;
} MetricName;

/*
 * First the gateway's own counters, indexed by enum Metric. The metrics of the
 * database are always shown, with 0 if it has not answered yet.
 */
extern const MetricName metric_names[];
extern const size_t metric_names_count;

#endif /* METRIC_NAMES_H */

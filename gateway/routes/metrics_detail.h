/*
 * metrics_detail.h: the part of the Prometheus text that has labels.
 */
#ifndef METRICS_DETAIL_H
#define METRICS_DETAIL_H

#include <cjson/cJSON.h>

#include "text.h"

/*
 * Writes the result of msgstore.metrics_detail() (NULL: not known yet). "all"
 * is the flat object.
 */
void metrics_write_detail(const cJSON *all, const cJSON *detail, Text *out);

/* Writes the HELP and TYPE lines of a metric. */
void metrics_write_head(const char *name,
						const char *type,
						const char *help,
						Text *out);

#endif /* METRICS_DETAIL_H */

/*
 * metrics_detail.h: the part of the Prometheus text that has labels.
 */
#ifndef METRICS_DETAIL_H
#define METRICS_DETAIL_H

#include <cjson/cJSON.h>

#include "text.h"

/*
 * Writes what msgstore.metrics_detail() returned (NULL: nothing is known yet);
 * all is the flat object.
 */
void metrics_write_detail(const cJSON *all, const cJSON *detail, Text *out);

/* The two lines that go before the samples of a name. */
void metrics_write_head(const char *name,
						const char *type,
						const char *help,
						Text *out);

#endif /* METRICS_DETAIL_H */

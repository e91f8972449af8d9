/*
 * responses/use.h: notes that responses of the durable store were read.
 */
#ifndef RESPONSES_USE_H
#define RESPONSES_USE_H

#include "nodes/pg_list.h"

/* IDs (char *) of responses of a tenant; see msgstore.response_max_idle. */
extern void use_note(const char *tenant_id, List *ids);

#endif /* RESPONSES_USE_H */

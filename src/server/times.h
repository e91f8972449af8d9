/*
 * server/times.h: times given as text.
 */
#ifndef SERVER_TIMES_H
#define SERVER_TIMES_H

#include "datatype/timestamp.h"

/* What timestamptz_in() accepts, without an error. Returns false otherwise. */
extern bool times_parse(char *value, TimestampTz *result);

#endif /* SERVER_TIMES_H */

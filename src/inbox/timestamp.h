/*
 * inbox/timestamp.h: parsing of timestamps.
 */
#ifndef INBOX_TIMESTAMP_H
#define INBOX_TIMESTAMP_H

#include "datatype/timestamp.h"

/* Parses an ISO 8601 / RFC 3339 time with a zone; false if it is not one. */
extern bool inbox_parse_timestamp(const char *s, int len, TimestampTz *instant);

#endif /* INBOX_TIMESTAMP_H */

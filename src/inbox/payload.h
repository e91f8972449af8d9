/*
 * inbox/payload.h: reading, measuring and redacting payloads.
 */
#ifndef INBOX_PAYLOAD_H
#define INBOX_PAYLOAD_H

#include "utils/jsonb.h"

/* Finds a top-level field; false when it is absent or JSON null. */
extern bool
inbox_find_field(Jsonb *payload, const char *field, JsonbValue *value);

/*
 * Returns the bytes of the payload as JSON text without optional white space.
 * If that exceeds msgstore.max_payload_bytes, the result may be too low and
 * has_redacted_key wrong, because the payload is not read to its end.
 */
extern Size inbox_measure_payload(Jsonb *payload, bool *has_redacted_key);

/*
 * Returns the bytes of its numbers alone, counted until they exceed the limit.
 */
extern Size inbox_measure_numbers(Jsonb *payload, Size limit);

/* Returns a copy in which the values of msgstore.redact_keys are "***". */
extern Jsonb *inbox_redact_payload(Jsonb *payload);

/* Assign hook of msgstore.redact_keys. */
extern void inbox_assign_redact_keys(const char *value, void *extra);

#endif /* INBOX_PAYLOAD_H */

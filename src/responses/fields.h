/*
 * responses/fields.h: reads one field of a document or an argument.
 *
 * An invalid value raises MS400 and names the field.
 */
#ifndef RESPONSES_FIELDS_H
#define RESPONSES_FIELDS_H

#include "utils/jsonb.h"

#include "server/versions.h"

/*
 * Reports field "..." and what is wrong with it; expected is a sentence that
 * says what it must be. The name of the constraint is the API's code of the
 * error.
 */
pg_noreturn extern void responses_refuse_field(const char *field,
											   const char *what,
											   const char *expected);

extern void responses_check_id(const char *field, const char *id);
extern char *responses_read_text(const char *field, const JsonbValue *value);

/* Null is an empty array. */
extern Jsonb *responses_read_array(const char *field, const JsonbValue *value);

/* Also accepts a fraction of zeros. */
extern int64 responses_read_integer(const char *field,
									const JsonbValue *value,
									int64 least,
									int64 greatest);

/* Rounds down. */
extern int64 responses_read_seconds(const char *field,
									const JsonbValue *value,
									int64 least,
									int64 greatest);

/* Is the value a number that is not an integer? */
extern bool responses_is_fraction(const JsonbValue *value);

extern Jsonb *responses_wrap_jsonb(const JsonbValue *value);
extern Jsonb *responses_empty_array(void);

#endif /* RESPONSES_FIELDS_H */

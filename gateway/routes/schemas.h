/*
 * schemas.h: what GET /openapi.json tells about bodies and parameters.
 */
#ifndef SCHEMAS_H
#define SCHEMAS_H

#include <stddef.h>

/* JSON Schema by name, as JSON. */
typedef struct Schema
{
	const char *name;
	const char *json;
} Schema;

extern const Schema schemas[];
extern const size_t schemas_count;

/* Those of event streams, in schemas_streams.c. */
extern const Schema stream_schemas[];
extern const size_t stream_schemas_count;

/*
 * The members of the object that describes a parameter, without its name and
 * place. Returns NULL if it is not known.
 */
const char *schemas_parameter(const char *name, size_t length);

#endif /* SCHEMAS_H */

/*
 * json.h: checks that a text is one JSON object that the database accepts.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

typedef struct JsonFault
{
	const char *why; /* a constant */
	size_t position; /* of the character at fault, from 1; 0: the whole text */
	bool invalid_text; /* only the server cannot store it: see json_text.h */
} JsonFault;

/*
 * True if the text is exactly one JSON object (RFC 8259) that jsonb can store.
 * Otherwise says what is wrong.
 */
bool json_is_object(const char *text, size_t length, JsonFault *fault);

#endif /* JSON_H */

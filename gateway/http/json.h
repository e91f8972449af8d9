/*
 * json.h: checks that a text is one JSON object that the database accepts.
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

/*
 * True if the text is exactly one JSON object (RFC 8259) that jsonb can store.
 * Otherwise sets *why to a constant that says what is wrong.
 */
bool json_is_object(const char *text, size_t length, const char **why);

#endif /* JSON_H */

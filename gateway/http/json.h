/*
 * json.h: is this text one JSON object that the database will read?
 */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Says whether the text is exactly one JSON object (RFC 8259) that jsonb can
 * hold. If not, *why is set to a constant that says what is wrong with it.
 */
bool json_is_object(const char *text, size_t length, const char **why);

#endif /* JSON_H */

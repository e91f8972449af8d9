/*
 * text.h: a growing string.
 *
 * A zeroed Text is empty and ready to use. If memory runs out it keeps its
 * content and sets "failed", so only the last step of a chain has to check.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Text
{
	char *data; /* NUL-terminated once something was added */
	size_t length;
	size_t capacity;
	bool failed; /* out of memory: the content is incomplete */
} Text;

void text_add(Text *text, const char *bytes, size_t length);
void text_add_string(Text *text, const char *string);
void text_add_number(Text *text, size_t number);
void text_addf(Text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Adds a JSON string, quotes included. Control characters are escaped and
 * invalid UTF-8 becomes U+FFFD, so the result is always valid JSON on one line.
 */
void text_add_json(Text *text, const char *bytes, size_t length);
void text_free(Text *text);

/* Copies a string into an array, up to its size. */
void text_copy(char *out, size_t size, const char *string);

/* How many bytes a JSON string can contain as they are, ASCII only. */
size_t text_count_plain(const char *bytes, size_t length);

/* Length of the UTF-8 sequence at bytes, or 0 if it is invalid. */
size_t utf8_sequence(const char *bytes, size_t length);
bool utf8_valid(const char *bytes, size_t length);

#endif /* TEXT_H */

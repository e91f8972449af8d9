/*
 * text.h: a growing piece of text.
 *
 * A Text of zeros is empty and ready. When memory runs out it keeps what it
 * has and sets "failed", so that only the last step of a chain has to ask.
 */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Text
{
	char *data; /* zero-terminated as soon as something was added */
	size_t length;
	size_t capacity;
	bool failed; /* out of memory: the content is not complete */
} Text;

void text_add(Text *text, const char *bytes, size_t length);
void text_add_string(Text *text, const char *string);
void text_addf(Text *text, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Adds a JSON string, quotes included. Control characters are escaped and
 * bytes that are not UTF-8 become U+FFFD, so the result is always JSON in one
 * line.
 */
void text_add_json(Text *text, const char *bytes, size_t length);
void text_free(Text *text);

/* Length of the valid UTF-8 sequence at bytes, or 0 if there is none. */
size_t utf8_sequence(const char *bytes, size_t length);
bool utf8_valid(const char *bytes, size_t length);

#endif /* TEXT_H */

/*
 * inbox/json_text.h: JSON text with characters that PostgreSQL cannot store.
 *
 * Plain C, without the server's headers: the gateway compiles it, too.
 */
#ifndef INBOX_JSON_TEXT_H
#define INBOX_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum JsonTextFault
{
	JSON_TEXT_VALID,
	JSON_TEXT_NUL,		/* \u0000 */
	JSON_TEXT_SURROGATE /* half of a surrogate pair */
} JsonTextFault;

/* Escapes that replace those of a fault; U+FFFD exists in Unicode only. */
#define JSON_TEXT_REPLACEMENT "\\ufffd"
#define JSON_TEXT_QUESTION_MARK "\\u003f"

/* Returns the length of the byte order mark before the text: 3 or 0. */
extern size_t json_text_mark(const char *text, size_t length);

/*
 * Finds the first faulty escape from *at on, and sets *at to its backslash. It
 * is six bytes long. The text need not be valid JSON.
 */
extern JsonTextFault
json_text_find(const char *text, size_t length, size_t *at);

/*
 * Replaces all faulty escapes in place, in strings and keys at any depth: the
 * length stays the same. Returns whether there were any.
 */
extern bool
json_text_replace(char *text, size_t length, const char *replacement);

#endif /* INBOX_JSON_TEXT_H */

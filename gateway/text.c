/*
 * text.c: a growing string.
 *
 * Everything the gateway writes (batch items, answers, log lines) is built
 * here, so lengths are computed and text is escaped in one place.
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* The head of an answer, or a webhook's item, fits. */
#define START_BYTES 512

static size_t add_escaped(Text *text, const char *bytes, size_t length);
static bool reserve(Text *text, size_t more);

void
text_add(Text *text, const char *bytes, size_t length)
{
	if (!reserve(text, length))
		return;
	/* Without a length, bytes may be NULL. */
	if (length > 0)
		memcpy(text->data + text->length, bytes, length);
	text->length += length;
	text->data[text->length] = '\0';
}

void
text_add_string(Text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

/* The head of each answer has some: formats would take as long as the rest. */
void
text_add_number(Text *text, size_t number)
{
	char digits[24];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char) ('0' + number % 10);
	while ((number /= 10) > 0);
	text_add(text, digits + at, sizeof(digits) - at);
}

void
text_addf(Text *text, const char *format, ...)
{
	va_list arguments;
	size_t spare;
	int length;

	if (!reserve(text, 0))
		return;
	spare = text->capacity - text->length;
	va_start(arguments, format);
	length = vsnprintf(text->data + text->length, spare, format, arguments);
	va_end(arguments);
	if (length < 0)
	{
		text->failed = true;
		return;
	}
	/* Usually it fits, and is formatted only once. */
	if ((size_t) length >= spare)
	{
		text->data[text->length] = '\0';
		if (!reserve(text, (size_t) length))
			return;
		va_start(arguments, format);
		vsnprintf(text->data + text->length,
				  (size_t) length + 1,
				  format,
				  arguments);
		va_end(arguments);
	}
	text->length += (size_t) length;
}

void
text_add_json(Text *text, const char *bytes, size_t length)
{
	size_t i = 0;

	text_add(text, "\"", 1);
	while (i < length)
	{
		size_t plain = text_count_plain(bytes + i, length - i);

		text_add(text, bytes + i, plain);
		i += plain;
		if (i < length)
			i += add_escaped(text, bytes + i, length - i);
	}
	text_add(text, "\"", 1);
}

size_t
text_count_plain(const char *bytes, size_t length)
{
	size_t i = 0;

	while (i < length && bytes[i] >= ' ' && bytes[i] < 0x7f &&
		   bytes[i] != '"' && bytes[i] != '\\')
		i++;
	return i;
}

/* Adds one other character; returns how many bytes it has. */
static size_t
add_escaped(Text *text, const char *bytes, size_t length)
{
	unsigned char c = (unsigned char) *bytes;
	size_t sequence = utf8_sequence(bytes, length);

	if (c == '"' || c == '\\')
		text_addf(text, "\\%c", c);
	else if (c == '\n')
		text_add(text, "\\n", 2);
	else if (c < 0x20 || c == 0x7f)
		text_addf(text, "\\u%04x", c);
	else if (sequence == 0)
		text_add(text, "\\ufffd", 6);
	else
		text_add(text, bytes, sequence);
	return sequence > 0 ? sequence : 1;
}

void
text_free(Text *text)
{
	free(text->data);
	memset(text, 0, sizeof(*text));
}

void
text_copy(char *out, size_t size, const char *string)
{
	size_t length = strnlen(string, size - 1);

	memcpy(out, string, length);
	out[length] = '\0';
}

size_t
utf8_sequence(const char *bytes, size_t length)
{
	const unsigned char *b = (const unsigned char *) bytes;
	size_t need;
	uint32_t code;

	if (length == 0)
		return 0;
	if (b[0] < 0x80)
		return 1;
	if (b[0] >= 0xc2 && b[0] <= 0xdf)
		need = 2;
	else if (b[0] >= 0xe0 && b[0] <= 0xef)
		need = 3;
	else if (b[0] >= 0xf0 && b[0] <= 0xf4)
		need = 4;
	else
		return 0;
	if (length < need)
		return 0;
	code = b[0] & (0x7fu >> need);
	for (size_t i = 1; i < need; i++)
	{
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (b[i] & 0x3f);
	}
	/* Overlong forms, surrogates, and code points beyond Unicode. */
	if ((need == 3 && code < 0x800) || (need == 4 && code < 0x10000) ||
		(code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
		return 0;
	return need;
}

bool
utf8_valid(const char *bytes, size_t length)
{
	size_t i = 0;

	while (i < length)
	{
		size_t sequence = utf8_sequence(bytes + i, length - i);

		if (sequence == 0)
			return false;
		i += sequence;
	}
	return true;
}

/* Makes room for that many more bytes and the final NUL. */
static bool
reserve(Text *text, size_t more)
{
	size_t capacity = text->capacity > 0 ? text->capacity : START_BYTES;
	char *data;

	if (text->failed)
		return false;
	if (more > SIZE_MAX / 4 || text->length > SIZE_MAX / 4)
	{
		text->failed = true;
		return false;
	}
	while (capacity < text->length + more + 1)
		capacity *= 2;
	if (capacity == text->capacity)
		return true;
	data = realloc(text->data, capacity);
	if (data == NULL)
	{
		text->failed = true;
		return false;
	}
	text->data = data;
	text->capacity = capacity;
	return true;
}

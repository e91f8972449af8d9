/*
 * parameters.c: a request's idempotency key and the parameters of its query.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/headers.h"
#include "http/parameters.h"
#include "http/reply.h"
#include "text.h"

#define NAME_MAX_BYTES 64

static bool has_name(const char *names, const char *name, size_t length);
static bool saturate_number(const char *text, int *number);

bool
request_read_key(Request *request)
{
	const char *key = request_header(request, "Idempotency-Key");
	size_t length = key != NULL ? strlen(key) : 0;

	while (length > 0 && (key[length - 1] == ' ' || key[length - 1] == '\t'))
		length--;
	if (length > IDEMPOTENCY_KEY_MAX)
	{
		reply_error(request,
					400,
					"header \"Idempotency-Key\" is longer than 255 bytes");
		return false;
	}
	if (!utf8_valid(key, length))
	{
		reply_error(request, 400, "header \"Idempotency-Key\" is not UTF-8");
		return false;
	}
	if (length > 0)
		memcpy(request->key, key, length);
	request->key[length] = '\0';
	return true;
}

bool
request_query_number(Request *request, const char *const *names, int *number)
{
	for (; *names != NULL; names++)
	{
		char value[64];
		bool given;

		if (!request_query_text(request, *names, value, sizeof(value), &given))
			return false;
		if (!given)
			continue;
		if (!saturate_number(value, number))
		{
			char message[128];

			snprintf(message,
					 sizeof(message),
					 "parameter \"%s\" is not a whole number",
					 *names);
			reply_error(request, 400, message);
			return false;
		}
		return true;
	}
	return true;
}

bool
request_query_text(Request *request,
				   const char *name,
				   char *value,
				   size_t size,
				   bool *given)
{
	const char *query = request->info->query_string;
	char message[128];
	int length = -1;

	if (query != NULL)
		length = mg_get_var(query, strlen(query), name, value, size);
	*given = length >= 0 && value[strspn(value, " \t")] != '\0';
	if (length == -1 || (length >= 0 && strlen(value) == (size_t) length &&
						 utf8_valid(value, (size_t) length)))
		return true;
	snprintf(message, sizeof(message), "parameter \"%s\" is not valid", name);
	reply_error(request, 400, message);
	return false;
}

bool
request_query_boolean(Request *request,
					  const char *name,
					  char *value,
					  bool *given)
{
	char message[64];

	if (!request_query_text(request, name, value, BOOLEAN_MAX + 1, given))
		return false;
	if (!*given || strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
		return true;
	snprintf(request->reply.param, sizeof(request->reply.param), "%s", name);
	snprintf(message,
			 sizeof(message),
			 "parameter \"%s\" is not true or false",
			 name);
	reply_error(request, 400, message);
	return false;
}

/* Names are compared as mg_get_var does: not decoded, in any case. */
bool
request_check_query(Request *request, const char *names)
{
	const char *at = request->info->query_string;
	char message[NAME_MAX_BYTES + 64];

	for (; at != NULL && *at != '\0'; at += *at == '&')
	{
		size_t length = strcspn(at, "&=");

		if ((length > 0 || at[length] == '=') && !has_name(names, at, length))
		{
			snprintf(message,
					 sizeof(message),
					 "parameter \"%.*s\" is unknown",
					 length < NAME_MAX_BYTES ? (int) length : NAME_MAX_BYTES,
					 at);
			snprintf(request->reply.param,
					 sizeof(request->reply.param),
					 "%.*s",
					 length < NAME_MAX_BYTES ? (int) length : NAME_MAX_BYTES,
					 at);
			snprintf(request->reply.code,
					 sizeof(request->reply.code),
					 "unknown_parameter");
			reply_error(request, 400, message);
			return false;
		}
		at += strcspn(at, "&");
	}
	return true;
}

static bool
has_name(const char *names, const char *name, size_t length)
{
	while (*names != '\0')
	{
		size_t size = strcspn(names, " ");

		if (size == length && strncasecmp(names, name, length) == 0)
			return true;
		names += size;
		names += *names == ' ';
	}
	return false;
}

/* A number out of range becomes INT_MAX or -INT_MAX. */
static bool
saturate_number(const char *text, int *number)
{
	bool negative = *text == '-';
	long long value = 0;

	text += *text == '-' || *text == '+';
	if (*text == '\0' || strspn(text, "0123456789") != strlen(text))
		return false;
	for (; *text != '\0' && value <= INT_MAX; text++)
		value = value * 10 + (*text - '0');
	if (value > INT_MAX)
		value = INT_MAX;
	*number = (int) (negative ? -value : value);
	return true;
}

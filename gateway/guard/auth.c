/*
 * auth.c: whether a request may use a route: keys and scopes.
 *
 * This check comes before anything that costs something: without a valid key
 * no body is read, and the answer says only that the key is missing or
 * invalid. A key is accepted in one header only. It is never logged or sent
 * back; the log shows its prefix, which is public.
 */
#include <string.h>
#include <strings.h>

#include "gateway.h"
#include "guard/auth.h"
#include "guard/keys.h"
#include "guard/own_limit.h"

/* Longer than any key; longer ones are refused before they are hashed. */
#define KEY_MAX 128

static bool read_key(const Request *request, char *key, const char **why);

AuthVerdict
auth_check(Request *request, Scope scope, const char **why)
{
	Gateway *gateway = request->gateway;
	char key[KEY_MAX + 1];

	if (scope == SCOPE_NONE)
		return AUTH_ADMITTED;
	if (gateway->keys == NULL)
	{
		own_limit_get(gateway->own_limit, &request->caller);
		return AUTH_ADMITTED;
	}
	if (!read_key(request, key, why))
		return AUTH_UNAUTHORIZED;
	switch (keys_identify(gateway->keys, key, &request->caller, why))
	{
		case KEY_GOOD:
			break;
		case KEY_UNKNOWN:
			*why = "key is unknown, revoked or expired";
			return AUTH_UNAUTHORIZED;
		case KEY_UNAVAILABLE:
			return AUTH_UNAVAILABLE;
	}
	if ((request->caller.scopes & scope) != 0)
		return AUTH_ADMITTED;
	*why = "key lacks the scope for this path";
	return AUTH_FORBIDDEN;
}

/* Reads "Authorization: Bearer KEY": one such header with one key. */
static bool
read_key(const Request *request, char *key, const char **why)
{
	const char *value = NULL;
	size_t length;

	*why = "missing key";
	for (int i = 0; i < request->info->num_headers; i++)
	{
		if (strcasecmp(request->info->http_headers[i].name, "Authorization") !=
			0)
			continue;
		if (value != NULL)
		{
			*why = "more than one header \"Authorization\"";
			return false;
		}
		value = request->info->http_headers[i].value;
	}
	if (value == NULL)
		return false;
	*why = "header \"Authorization\" must be \"Bearer KEY\"";
	if (strncasecmp(value, "Bearer ", 7) != 0)
		return false;
	value += 7 + strspn(value + 7, " ");
	length = strcspn(value, " \t");
	if (length == 0 || length > KEY_MAX ||
		value[length + strspn(value + length, " \t")] != '\0')
		return false;
	/* Keys are printable ASCII; other bytes may not even be valid text. */
	for (size_t i = 0; i < length; i++)
	{
		if (value[i] < '!' || value[i] > '~')
			return false;
	}
	memcpy(key, value, length);
	key[length] = '\0';
	return true;
}

/*
 * auth.c: who may come in: keys, scopes and what is refused without them.
 *
 * It stands before everything that costs something: whoever has no key gets
 * no body read and no question answered but that his key is not one. A key is
 * in one header and nowhere else, and of what is in it nothing is logged or
 * sent back; the log has the part of it that is no secret.
 */
#include <string.h>
#include <strings.h>

#include "guard/auth.h"
#include "http/reply.h"

/* Longer than any key; what is longer is none and is not even hashed. */
#define KEY_MAX 128

static bool read_key(const Request *request, char *key, const char **why);

bool
auth_admit(Request *request, Scope scope)
{
	Gateway *gateway = request->gateway;
	char key[KEY_MAX + 1];
	const char *why;

	if (gateway->keys == NULL)
	{
		if (scope != SCOPE_NONE)
			own_limit_get(gateway->own_limit, &request->caller);
		return true;
	}
	if (scope == SCOPE_NONE)
		return true;
	if (!read_key(request, key, &why))
	{
		reply_unauthorized(request, why);
		return false;
	}
	switch (keys_identify(gateway->keys, key, &request->caller, &why))
	{
		case KEY_GOOD:
			break;
		case KEY_UNKNOWN:
			reply_unauthorized(request, "key is unknown, revoked or expired");
			return false;
		case KEY_UNAVAILABLE:
			reply_unavailable(request, why, 1);
			return false;
	}
	if ((request->caller.scopes & scope) != 0)
		return true;
	reply_forbidden(request, "key is not good for this path");
	return false;
}

/* From "Authorization: Bearer KEY"; one such header, one key in it. */
static bool
read_key(const Request *request, char *key, const char **why)
{
	const char *value = NULL;
	size_t length;

	*why = "a key is needed";
	for (int i = 0; i < request->info->num_headers; i++)
	{
		if (strcasecmp(request->info->http_headers[i].name, "Authorization") !=
			0)
			continue;
		if (value != NULL)
		{
			*why = "there is more than one key";
			return false;
		}
		value = request->info->http_headers[i].value;
	}
	if (value == NULL)
		return false;
	*why = "header \"Authorization\" is not \"Bearer\" and a key";
	if (strncasecmp(value, "Bearer ", 7) != 0)
		return false;
	value += 7 + strspn(value + 7, " ");
	length = strcspn(value, " \t");
	if (length == 0 || length > KEY_MAX ||
		value[length + strspn(value + length, " \t")] != '\0')
		return false;
	/* Whatever is not printable ASCII cannot be a key, nor be stored. */
	for (size_t i = 0; i < length; i++)
	{
		if (value[i] < '!' || value[i] > '~')
			return false;
	}
	memcpy(key, value, length);
	key[length] = '\0';
	return true;
}

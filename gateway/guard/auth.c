/*
 * auth.c: whether a request may use a route: keys and scopes.
 *
 * This check comes before anything that costs something: without a valid key
 * no body is read, and the answer says only that the key is missing or
 * invalid. A key is accepted in one header, or in the cookie that
 * POST /api/session sets for the console. It is never logged or sent back; the
 * log shows its prefix, which is public.
 *
 * A browser adds the cookie to requests by itself, so that another site could
 * try to make it act. The cookie is SameSite=Strict, and a request with it that
 * changes something must have a header that only a script of the same site can
 * add: no other site gets permission for it, because the gateway never answers
 * a preflight.
 */
#include <string.h>
#include <strings.h>

#include "gateway.h"
#include "guard/auth.h"
#include "guard/keys.h"
#include "guard/own_limit.h"

static bool read_cookie(const Request *request, char *key);
static bool is_forged(const Request *request);
static bool copy_key(const char *value, size_t length, char *key);

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
	if (!auth_read_key(request, key, why))
		return AUTH_UNAUTHORIZED;
	if (is_forged(request))
	{
		*why = "a request with the session's cookie needs the header "
			   "\"X-Requested-With\"";
		return AUTH_FORBIDDEN;
	}
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

bool
auth_read_key(const Request *request, char *key, const char **why)
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
		return read_cookie(request, key);
	*why = "header \"Authorization\" must be \"Bearer KEY\"";
	if (strncasecmp(value, "Bearer ", 7) != 0)
		return false;
	value += 7 + strspn(value + 7, " ");
	length = strcspn(value, " \t");
	return value[length + strspn(value + length, " \t")] == '\0' &&
		   copy_key(value, length, key);
}

/* The cookies are "name=value; name=value"; a key has no ";". */
static bool
read_cookie(const Request *request, char *key)
{
	static const char name[] = AUTH_COOKIE "=";
	const char *cookies = mg_get_header(request->conn, "Cookie");

	while (cookies != NULL && *cookies != '\0')
	{
		size_t length;

		cookies += strspn(cookies, "; ");
		length = strcspn(cookies, ";");
		if (strncmp(cookies, name, strlen(name)) == 0)
			return copy_key(cookies + strlen(name), length - strlen(name), key);
		cookies += length;
	}
	return false;
}

static bool
is_forged(const Request *request)
{
	const char *site = mg_get_header(request->conn, "Sec-Fetch-Site");

	if (mg_get_header(request->conn, "Authorization") != NULL ||
		strcmp(request->method, "GET") == 0 ||
		strcmp(request->method, "HEAD") == 0)
		return false;
	return mg_get_header(request->conn, "X-Requested-With") == NULL ||
		   (site != NULL && strcmp(site, "same-origin") != 0);
}

/* Keys are printable ASCII; other bytes may not even be valid text. */
static bool
copy_key(const char *value, size_t length, char *key)
{
	if (length == 0 || length > KEY_MAX)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (value[i] < '!' || value[i] > '~')
			return false;
	}
	memcpy(key, value, length);
	key[length] = '\0';
	return true;
}

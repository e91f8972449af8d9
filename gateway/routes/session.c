/*
 * session.c: a key in a cookie, for the console.
 *
 * The cookie holds the key itself, out of reach of scripts: it works with every
 * gateway and after each restart, and ends when the key is revoked.
 */
#include <string.h>

#include "config/config.h"
#include "gateway.h"
#include "guard/auth.h"
#include "guard/keys.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "text.h"

static bool identify(Request *request, char *key);
static void answer(Request *request, bool open);
static void set_cookie(Request *request, const char *key);

void
get_session(Request *request)
{
	char key[KEY_MAX + 1];

	identify(request, key);
	explicit_bzero(key, sizeof(key));
}

/* The key comes in the header Authorization, which no other site can send. */
void
post_session(Request *request)
{
	char key[KEY_MAX + 1];

	if (identify(request, key) && key[strcspn(key, ";,\\\"")] == '\0')
		set_cookie(request, key);
	explicit_bzero(key, sizeof(key));
}

void
delete_session(Request *request)
{
	answer(request, false);
	set_cookie(request, NULL);
}

/*
 * Answers what the request's key allows. Returns true if it has one that is
 * good; key has room for KEY_MAX + 1 bytes.
 */
static bool
identify(Request *request, char *key)
{
	Keys *keys = request->gateway->keys;
	KeyAnswer known = KEY_UNKNOWN;
	const char *why;

	key[0] = '\0';
	if (keys != NULL && auth_read_key(request, key, &why))
		known = keys_identify(keys, key, &request->caller, &why);
	if (known == KEY_UNAVAILABLE)
		reply_unavailable(request, why, 1);
	else
		answer(request, keys == NULL || known == KEY_GOOD);
	return known == KEY_GOOD;
}

static void
answer(Request *request, bool open)
{
	static const struct
	{
		Scope scope;
		const char *name;
	} scopes[] = {{SCOPE_INGEST, "ingest"},
				  {SCOPE_SEND, "send"},
				  {SCOPE_READ, "read"},
				  {SCOPE_RESPONSES, "responses"},
				  {SCOPE_APPEND, "append"},
				  {SCOPE_CONSUME, "consume"},
				  {SCOPE_OPERATE, "operate"}};
	bool all = request->gateway->keys == NULL;
	const char *tenant = request->caller.tenant;
	const char *comma = "";
	Text body = {0};

	text_addf(&body,
			  "{\"keys\":%s,\"open\":%s,\"tenant\":",
			  all ? "false" : "true",
			  open ? "true" : "false");
	text_add_json(&body, tenant, strlen(tenant));
	text_add_string(&body, ",\"scopes\":[");
	for (size_t i = 0; open && i < sizeof(scopes) / sizeof(scopes[0]); i++)
	{
		if (!all && (request->caller.scopes & scopes[i].scope) == 0)
			continue;
		text_addf(&body, "%s\"%s\"", comma, scopes[i].name);
		comma = ",";
	}
	text_add_string(&body, "]}");
	reply_body(request, 200, NULL, &body);
}

/* Without a key the cookie is removed. */
static void
set_cookie(Request *request, const char *key)
{
	Text *headers = &request->reply.headers;

	text_addf(headers,
			  "Set-Cookie: " AUTH_COOKIE "=%s; Path=/; HttpOnly; "
			  "SameSite=Strict%s%s\r\n",
			  key != NULL ? key : "",
			  request->gateway->tls != NULL || request->gateway->config->hsts
				  ? "; Secure"
				  : "",
			  key != NULL ? "" : "; Max-Age=0");
}

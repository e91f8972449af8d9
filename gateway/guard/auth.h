/*
 * auth.h: whether a request may use a route: keys and scopes.
 */
#ifndef AUTH_H
#define AUTH_H

#include "caller.h"
#include "exchange.h"

typedef enum AuthVerdict
{
	AUTH_ADMITTED,
	AUTH_UNAUTHORIZED, /* missing or invalid key: answer 401 */
	AUTH_FORBIDDEN,	   /* the key lacks the scope: answer 403 */
	AUTH_UNAVAILABLE   /* the key could not be checked: answer 503 */
} AuthVerdict;

/*
 * Checks the request's key for that scope and fills in request->caller. If
 * not admitted, *why is a constant for the client.
 */
AuthVerdict auth_check(Request *request, Scope scope, const char **why);

/* The cookie of a session of the console; its value is the key. */
#define AUTH_COOKIE "msgstore_key"

/*
 * Copies the key of the request, of at most KEY_MAX bytes. Returns false if it
 * has none; *why is then a constant for the client.
 */
bool auth_read_key(const Request *request, char *key, const char **why);

#endif /* AUTH_H */

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

#endif /* AUTH_H */

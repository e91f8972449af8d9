/*
 * auth.h: who may come in: keys, scopes and what is refused without them.
 */
#ifndef AUTH_H
#define AUTH_H

#include <stdbool.h>

#include "http/request.h"

/*
 * Fills in request->caller. Returns false after a reply of 401, 403 or 503 if
 * the request has no key with that scope, and the gateway asks for one.
 */
bool auth_admit(Request *request, Scope scope);

#endif /* AUTH_H */

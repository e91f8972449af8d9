/*
 * call.h: the one statement that a handler runs.
 */
#ifndef CALL_H
#define CALL_H

#include <stdbool.h>

#include <libpq-fe.h>

#include "db/session.h"
#include "exchange.h"

/*
 * Runs a statement with text parameters for the caller's tenant, in a
 * transaction of its own. Returns its single row, which the handler clears.
 * Otherwise answers the request and returns NULL; "content" is as for
 * reply_sqlstate.
 */
PGresult *call_database(Request *request,
						const char *sql,
						int count,
						const char *const *values,
						bool content);

/* The same for a statement that may have binary parameters. */
PGresult *
call_statement(Request *request, const Statement *statement, bool content);

#endif /* CALL_H */

/*
 * session.h: one session with the database, in which no wait is endless.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdatomic.h>
#include <stdbool.h>

#include <libpq-fe.h>

#include "config/config.h"
#include "log.h"

typedef struct Session
{
	const Config *config;
	Log *log;
	const atomic_bool *stopping; /* if it is set, connecting is given up */
	PGconn *pg;					 /* NULL: closed */
	PGcancel *cancel; /* made at connect: PQcancel must not touch pg */
	bool scoped; /* msgstore.tenant_id is the module's, and not just a name */
} Session;

/* What became of a call; the SQLSTATE alone says whether it succeeded. */
typedef struct QueryOutcome
{
	PGresult *result; /* NULL if the connection was lost; the caller clears */
	char sqlstate[6]; /* 00000: success; 08xxx: lost, nobody knows */
} QueryOutcome;

/*
 * Connects a closed session under that name, within the URL's time limit. A
 * failure is logged at the level given: its repetitions are no news.
 */
bool session_open(Session *session, const char *name, LogLevel level);
void session_close(Session *session);

/* With text parameters. */
typedef struct Statement
{
	const char *sql;
	int count; /* of values */
	const char *const *values;
} Statement;

/*
 * One statement with text parameters in a transaction of its own. Success
 * means that it has committed.
 */
QueryOutcome session_query(Session *session,
						   const char *sql,
						   int count,
						   const char *const *values);

/*
 * Several statements in one transaction and one round trip. The outcome is
 * that of all: success means that they have committed, and results has then
 * one result for each; otherwise its results are NULL, and the outcome has
 * that of the statement that failed. The caller clears them all.
 */
QueryOutcome session_transaction(Session *session,
								 const Statement *statements,
								 int count,
								 PGresult **results);

#endif /* SESSION_H */

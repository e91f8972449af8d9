/*
 * session.h: one session with the database, in which no wait is endless.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdatomic.h>
#include <stdbool.h>

#include <libpq-fe.h>

#include "config.h"
#include "log.h"

typedef struct Session
{
	const Config *config;
	Log *log;
	const atomic_bool *stopping; /* if it is set, connecting is given up */
	PGconn *pg;					 /* NULL: closed */
	PGcancel *cancel; /* made at connect: PQcancel must not touch pg */
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

/*
 * One statement with text parameters in a transaction of its own. Success
 * means that it has committed.
 */
QueryOutcome session_query(Session *session,
						   const char *sql,
						   int count,
						   const char *const *values);

#endif /* SESSION_H */

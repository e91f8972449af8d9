/*
 * session.h: a database session in which every wait has a time limit.
 */
#ifndef SESSION_H
#define SESSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "config/config.h"
#include "db/hosts.h"
#include "log.h"

typedef struct Session
{
	const Config *config;
	Log *log;
	const atomic_bool *stopping; /* once set, connecting is given up */
	const char *conninfo;		 /* NULL: that of config */
	PGconn *pg;					 /* NULL: closed */
	PGcancel *cancel; /* made at connect: PQcancel must not touch pg */
	HostOrder order;  /* of the servers, with silent ones at the end */
	bool scoped; /* the module is preloaded, so msgstore.tenant_id is safe */
	bool router; /* the database has the extension msgstore_router */
	bool pooled; /* behind a pooler: settings must end with a transaction */
	const char *lock_timeout; /* of the next calls; NULL: the role's */
	const char *prepared;	  /* the statement that is prepared, or NULL */
	bool stale;	 /* a prepared statement became invalid: to be closed */
	bool unsafe; /* the call has committed, but perhaps on this server only */
} Session;

/* The outcome of a call; the SQLSTATE alone says whether it succeeded. */
typedef struct QueryOutcome
{
	PGresult *result; /* NULL if the connection was lost; the caller clears */
	char sqlstate[6]; /* 00000: success; 08xxx: lost, outcome unknown */
} QueryOutcome;

/*
 * Does the error say that another server takes the writes now? A session that
 * got it is to be opened again.
 */
bool session_lost_primary(const char *sqlstate);

/*
 * Was the connection lost during the call, or ended by the server? The call may
 * have been committed.
 */
bool session_was_lost(const char *sqlstate);

/*
 * Connects a closed session with that application_name, within the URL's time
 * limit for each server. A server that does not answer in time is tried last
 * from then on. A failure is logged at the given level, so that repeated ones
 * need not fill the log.
 */
bool session_open(Session *session, const char *name, LogLevel level);
void session_close(Session *session);

/*
 * Prepares a statement, which then is not parsed and planned in each call: a
 * third of the time of a single event. It is known by its address, and there is
 * one in each session. Does nothing behind a pooler, where another session may
 * serve the next call.
 */
void session_prepare(Session *session, const char *sql);

/* A statement with parameters in text, unless formats says otherwise. */
typedef struct Statement
{
	const char *sql;
	int count; /* of values */
	const char *const *values;
	const int *lengths; /* of binary values */
	const int *formats; /* 1: binary; NULL: all are text */
} Statement;

/*
 * Runs one statement in its own transaction. Success means that it has
 * committed.
 */
QueryOutcome session_run(Session *session, const Statement *statement);

/* The same for a statement with text parameters. */
QueryOutcome session_query(Session *session,
						   const char *sql,
						   int count,
						   const char *const *values);

/*
 * Several statements in one transaction and one round trip. Success means that
 * all have committed; results then has one result for each. Otherwise results
 * are NULL, and the outcome has the result of the statement that failed. The
 * caller clears all of them.
 */
QueryOutcome session_transaction(Session *session,
								 const Statement *statements,
								 int count,
								 PGresult **results);

/*
 * For a statement that takes long, in three steps: sends it, in no transaction
 * and without settings; waits for its outcome, or for a file to be readable
 * (-1: none), or until a time; and takes the outcome. session_has_outcome() is
 * also true once the connection is lost.
 */
bool session_send(Session *session, const Statement *statement);
bool session_has_outcome(Session *session, int file, int64_t until_us);
QueryOutcome session_take_outcome(Session *session);

#endif /* SESSION_H */

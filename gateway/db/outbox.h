/*
 * outbox.h: the session in which a sender claims messages and reports.
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "db/session.h"

/* The outcome of a call. */
typedef enum OutboxResult
{
	OUTBOX_DONE,
	OUTBOX_REFUSED, /* a retry would be refused as well */
	OUTBOX_LATER	/* a retry may succeed */
} OutboxResult;

/* Used by one thread; only outbox_cancel may be called by another. */
typedef struct Outbox
{
	Session session;
	pthread_mutex_t mutex; /* guards session.cancel against being freed */
	Log *log;
	const char *prefix;	  /* of what it logs */
	char name[112];		  /* host, process and a random number */
	char id[128];		  /* claims under: the name, with a number from 2 on */
	int number;			  /* of the id */
	bool strays;		  /* this id may hold leases that we do not know of */
	bool troubled;		  /* the failure has been logged already */
	int64_t rest_us;	  /* the next wait while the database is away */
	int64_t heartbeat_us; /* when the next heartbeat is due */
} Outbox;

bool outbox_init(Outbox *outbox,
				 const Config *config,
				 Log *log,
				 const char *prefix,
				 const atomic_bool *stopping);
void outbox_free(Outbox *outbox);

/* Connects and listens, unless it is connected. */
bool outbox_connect(Outbox *outbox);
bool outbox_is_connected(const Outbox *outbox);

/* Cancels the running call, if there is one. */
void outbox_cancel(Outbox *outbox);

/*
 * Runs a statement that claims for the id $1, and at most $2. The caller clears
 * the rows.
 */
OutboxResult
outbox_claim(Outbox *outbox, const char *sql, int most, PGresult **rows);

/* On OUTBOX_DONE the caller owns *rows, unless rows is NULL. */
OutboxResult outbox_call(Outbox *outbox,
						 const char *sql,
						 int count,
						 const char *const *values,
						 PGresult **rows);

/* Renews the leases if it is time to. */
OutboxResult outbox_heartbeat(Outbox *outbox);

/* Takes the notifications that have arrived; false: none. */
bool outbox_take_news(Outbox *outbox);

/* Notes that the database is away. Returns how long to wait for it: us. */
int64_t outbox_note_trouble(Outbox *outbox);

/* Notes that it is there, and logs it after a trouble. */
void outbox_note_recovery(Outbox *outbox);

#endif /* OUTBOX_H */

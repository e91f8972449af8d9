/*
 * store.h: what the sender asks of the database.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#include "db/session.h"

/* What is sent or fetched: each kind has its functions in the database. */
typedef enum Kind
{
	KIND_MESSAGE,
	KIND_NOTIFICATION,
	KIND_MEDIA, /* is fetched */
	KIND_COUNT
} Kind;

/* The columns of a claim. */
typedef enum Column
{
	COLUMN_ID,
	COLUMN_ACCOUNT,
	COLUMN_ATTEMPT,
	COLUMN_CORRELATION_ID,
	COLUMN_METHOD,
	COLUMN_URL,
	COLUMN_HEADERS,
	COLUMN_BODY,
	COLUMN_AUTH,
	COLUMN_SECRET_NAME,
	COLUMN_SECRET,
	COLUMN_TIMEOUT_MS,
	COLUMN_AGAIN,
	COLUMN_MAX_BYTES /* of a file */
} Column;

typedef enum StoreResult
{
	STORE_DONE,
	STORE_REFUSED, /* a retry would be refused as well */
	STORE_LATER	   /* a retry may succeed */
} StoreResult;

typedef struct Store
{
	Session session;
	Log *log;
	char name[112];		  /* host, process and a random number */
	char id[128];		  /* claims under: the name, with a number from 2 on */
	int number;			  /* of the id */
	bool strays;		  /* this id may hold leases that we do not know of */
	bool troubled;		  /* the failure has been logged already */
	int64_t heartbeat_us; /* when the next heartbeat is due */
} Store;

/* An answer of a provider, as the database wants it. */
typedef struct Answer
{
	Kind kind;
	const char *id;
	long status; /* 0: none */
	const char *headers;
	const char *body;
	size_t body_length;
	const char *failure; /* NULL: none */
	bool was_sent;
} Answer;

bool store_init(Store *store,
				const Config *config,
				Log *log,
				const atomic_bool *stopping);

/* Connects and listens, unless it is connected. */
bool store_connect(Store *store);
void store_close(Store *store);
bool store_is_connected(const Store *store);

/* The caller clears the rows. */
StoreResult store_claim(Store *store, Kind kind, int most, PGresult **rows);

/* status is what the message has now, "" if the report was refused. */
StoreResult
store_record(Store *store, const Answer *answer, char *status, size_t size);

/* Renews the leases if it is time to. */
StoreResult store_heartbeat(Store *store);

/* Takes the notifications that have arrived; false: none. */
bool store_take_news(Store *store);

/* Names, names of secrets, whether there is a secret, whether it is needed. */
StoreResult store_list_accounts(Store *store, PGresult **rows);

#endif /* STORE_H */

/*
 * store.h: what the sender asks of the database.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>

#include <libpq-fe.h>

#include "db/outbox.h"

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

/* The caller clears the rows. */
OutboxResult store_claim(Outbox *outbox, Kind kind, int most, PGresult **rows);

/* status is what the message has now, "" if the report was refused. */
OutboxResult
store_record(Outbox *outbox, const Answer *answer, char *status, size_t size);

/* Names, names of secrets, whether there is a secret, whether it is needed. */
OutboxResult store_list_accounts(Outbox *outbox, PGresult **rows);

#endif /* STORE_H */

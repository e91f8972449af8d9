/*
 * transfer.h: one request to a provider, by libcurl.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include <curl/curl.h>
#include <libpq-fe.h>

#include "config/config.h"
#include "sender/mail.h"
#include "sender/store.h"
#include "text.h"

/* The rows of a claim, as long as a transfer needs one of them. */
typedef struct Batch
{
	PGresult *rows;
	int users;
} Batch;

typedef struct Transfer
{
	struct Transfer *next;
	Kind kind;
	Batch *batch;
	int row;
	CURL *easy; /* NULL: ended */
	struct curl_slist *headers;
	MailParts mail;
	curl_mime *form;
	const char *body;
	size_t body_length;
	size_t body_read; /* by libcurl */
	bool allow_private;
	size_t file_bytes_max;
	bool too_large; /* the file has more bytes */
	Text answer_headers;
	Text answer_body;
	char curl_error[CURL_ERROR_SIZE];

	/* Once it has ended. */
	long status;
	bool was_sent;
	Text failure;
	int64_t started_us;
	int64_t ended_us;
} Transfer;

/*
 * A transfer of that row; it has ended already if the request cannot be made.
 * NULL if memory runs out.
 */
Transfer *
transfer_create(const Config *config, Kind kind, Batch *batch, int row);

/* Takes what came of it, and removes its handle from the multi handle. */
void transfer_end(Transfer *transfer, CURLM *multi, CURLcode code);

/* The same for one that is given up. */
void transfer_abandon(Transfer *transfer, CURLM *multi, const char *reason);
void transfer_free(Transfer *transfer);

const char *transfer_column(const Transfer *transfer, Column column);

#endif /* TRANSFER_H */

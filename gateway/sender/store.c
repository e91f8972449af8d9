/*
 * store.c: what the sender asks of the database.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sender/store.h"

typedef struct KindCalls
{
	const char *claim;
	const char *record;
} KindCalls;

static const KindCalls calls[KIND_COUNT] = {
	{"SELECT message_id, account, attempt, correlation_id, method, url,"
	 " headers, body, auth, secret_name, secret, timeout_ms, again, NULL"
	 " FROM msgstore.claim_requests($1, $2::int)",
	 "SELECT msgstore.record_answer($1, $2::uuid, $3::int, $4, $5::bytea, $6,"
	 " $7::boolean)"},
	{"SELECT notification_id, destination, attempt, NULL, 'POST', url, headers,"
	 " body, 'none', NULL, NULL, timeout_ms, again, NULL"
	 " FROM msgstore.claim_notifications($1, $2::int)",
	 "SELECT msgstore.record_notification($1, $2::uuid, $3::int, $6)"
	 " FROM (SELECT $4::text, $5::bytea, $7::boolean) unused"},
	{"SELECT attachment_id, account, attempt, NULL, 'GET', url, NULL, NULL,"
	 " auth, secret_name, secret, timeout_ms, again, max_bytes"
	 " FROM msgstore.claim_media($1, $2::int)",
	 "SELECT msgstore.record_media($1, $2::uuid, $3::int, $4, $5::bytea, $6)"
	 " FROM (SELECT $7::boolean) unused"},
};

static const char accounts_sql[] =
	"SELECT name, secret_name, has_secret, provider <> 'smtp'"
	" FROM msgstore.list_accounts()";

static char *hex_of(const char *bytes, size_t length);

OutboxResult
store_claim(Outbox *outbox, Kind kind, int most, PGresult **rows)
{
	return outbox_claim(outbox, calls[kind].claim, most, rows);
}

OutboxResult
store_record(Outbox *outbox, const Answer *answer, char *status, size_t size)
{
	char number[16];
	char *body = hex_of(answer->body, answer->body_length);
	const char *values[] = {outbox->id,
							answer->id,
							number,
							answer->headers,
							body,
							answer->failure,
							answer->was_sent ? "true" : "false"};
	PGresult *rows = NULL;
	OutboxResult result;

	snprintf(number, sizeof(number), "%ld", answer->status);
	result = outbox_call(outbox, calls[answer->kind].record, 7, values, &rows);
	snprintf(status,
			 size,
			 "%s",
			 PQntuples(rows) == 1 ? PQgetvalue(rows, 0, 0) : "");
	PQclear(rows);
	free(body);
	return result;
}

OutboxResult
store_list_accounts(Outbox *outbox, PGresult **rows)
{
	return outbox_call(outbox, accounts_sql, 0, NULL, rows);
}

/* As a bytea; NULL is passed for none, and if memory runs out. */
static char *
hex_of(const char *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	char *hex = bytes != NULL ? malloc(length * 2 + 3) : NULL;

	if (hex == NULL)
		return NULL;
	memcpy(hex, "\\x", 2);
	for (size_t i = 0; i < length; i++)
	{
		hex[2 + i * 2] = digits[(unsigned char) bytes[i] >> 4];
		hex[3 + i * 2] = digits[(unsigned char) bytes[i] & 15];
	}
	hex[2 + length * 2] = '\0';
	return hex;
}

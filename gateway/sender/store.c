/*
 * store.c: what the sender asks of the database.
 *
 * A claim whose answer was lost may have succeeded. The next one uses another
 * id, so that heartbeats do not renew those unknown leases, which then expire.
 * An id is never used by two processes: the process ids of containers are all
 * alike, so a random number is part of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "clock.h"
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

static const char listen_sql[] = "LISTEN msgstore_outbox";
/* A heartbeat is due three times in a lease. */
static const char heartbeat_sql[] =
	"SELECT msgstore.heartbeat_outbound($1),"
	" (extract(epoch FROM current_setting('msgstore.claim_timeout')::interval)"
	" * 1000000 / 3)::bigint";
static const char accounts_sql[] =
	"SELECT name, secret_name, has_secret, provider <> 'smtp'"
	" FROM msgstore.list_accounts()";

static StoreResult call(Store *store,
						const char *sql,
						int count,
						const char *const *values,
						PGresult **rows);
static bool is_passing(const char *sqlstate);
static char *hex_of(const char *bytes, size_t length);

bool
store_init(Store *store,
		   const Config *config,
		   Log *log,
		   const atomic_bool *stopping)
{
	char host[64] = "localhost";
	uint32_t number;

	memset(store, 0, sizeof(*store));
	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		return false;
	gethostname(host, sizeof(host) - 1);
	snprintf(store->name,
			 sizeof(store->name),
			 "%s:%ld:%08x",
			 host,
			 (long) getpid(),
			 number);
	snprintf(store->id, sizeof(store->id), "%s", store->name);
	store->number = 1;
	store->log = log;
	store->session =
		(Session){.config = config, .log = log, .stopping = stopping};
	return true;
}

/* Listens before the first claim, so that no message is missed. */
bool
store_connect(Store *store)
{
	if (store->session.pg != NULL)
		return true;
	if (!session_open(&store->session,
					  "msgstore-sender",
					  store->troubled ? LOG_DEBUG : LOG_ERROR))
		return false;
	store->heartbeat_us = 0;
	if (call(store, listen_sql, 0, NULL, NULL) == STORE_DONE &&
		store_heartbeat(store) == STORE_DONE)
		return true;
	session_close(&store->session);
	return false;
}

void
store_close(Store *store)
{
	session_close(&store->session);
}

bool
store_is_connected(const Store *store)
{
	return store->session.pg != NULL;
}

StoreResult
store_claim(Store *store, Kind kind, int most, PGresult **rows)
{
	char limit[16];
	const char *values[] = {store->id, limit};
	StoreResult result;

	if (store->strays)
		snprintf(store->id,
				 sizeof(store->id),
				 "%s:%d",
				 store->name,
				 ++store->number);
	store->strays = false;
	snprintf(limit, sizeof(limit), "%d", most);
	result = call(store, calls[kind].claim, 2, values, rows);
	if (result != STORE_DONE)
		store->strays = store->session.pg == NULL;
	return result;
}

StoreResult
store_record(Store *store, const Answer *answer, char *status, size_t size)
{
	char number[16];
	char *body = hex_of(answer->body, answer->body_length);
	const char *values[] = {store->id,
							answer->id,
							number,
							answer->headers,
							body,
							answer->failure,
							answer->was_sent ? "true" : "false"};
	PGresult *rows = NULL;
	StoreResult result;

	snprintf(number, sizeof(number), "%ld", answer->status);
	result = call(store, calls[answer->kind].record, 7, values, &rows);
	snprintf(status,
			 size,
			 "%s",
			 PQntuples(rows) == 1 ? PQgetvalue(rows, 0, 0) : "");
	PQclear(rows);
	free(body);
	return result;
}

StoreResult
store_heartbeat(Store *store)
{
	const char *values[] = {store->id};
	PGresult *rows;
	StoreResult result;

	if (clock_us() < store->heartbeat_us)
		return STORE_DONE;
	result = call(store, heartbeat_sql, 1, values, &rows);
	if (result == STORE_DONE)
	{
		store->heartbeat_us = clock_us() + atoll(PQgetvalue(rows, 0, 1));
		PQclear(rows);
	}
	return result;
}

/* A lost connection is noticed by the next call. */
bool
store_take_news(Store *store)
{
	PGnotify *news;
	bool any = false;

	if (!PQconsumeInput(store->session.pg))
		return true;
	while ((news = PQnotifies(store->session.pg)) != NULL)
	{
		PQfreemem(news);
		any = true;
	}
	return any;
}

StoreResult
store_list_accounts(Store *store, PGresult **rows)
{
	return call(store, accounts_sql, 0, NULL, rows);
}

/* On STORE_DONE the caller owns *rows, unless rows is NULL. */
static StoreResult
call(Store *store,
	 const char *sql,
	 int count,
	 const char *const *values,
	 PGresult **rows)
{
	QueryOutcome outcome = session_query(&store->session, sql, count, values);
	bool done = strcmp(outcome.sqlstate, "00000") == 0;
	bool owned = strncmp(outcome.sqlstate, "MS", 2) == 0;

	if (done && rows != NULL)
		*rows = outcome.result;
	if (!done && outcome.result != NULL)
		log_event(store->log,
				  owned				? LOG_WARN
				  : store->troubled ? LOG_DEBUG
									: LOG_ERROR,
				  "database error %s: %s",
				  outcome.sqlstate,
				  PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
	if (!done || rows == NULL)
		PQclear(outcome.result);
	if (strncmp(outcome.sqlstate, "08", 2) == 0 ||
		session_lost_primary(outcome.sqlstate) ||
		PQstatus(store->session.pg) == CONNECTION_BAD)
		session_close(&store->session);
	return done							  ? STORE_DONE
		   : is_passing(outcome.sqlstate) ? STORE_LATER
										  : STORE_REFUSED;
}

/*
 * The server is away, full or stopping, or a timeout or a lock got in the way.
 * After any other error a retry is useless; the lease is left to expire.
 */
static bool
is_passing(const char *sqlstate)
{
	static const char *const classes[] = {"08", "40", "53", "55", "57", "58"};

	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
	{
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	}
	return session_lost_primary(sqlstate);
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

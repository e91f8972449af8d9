/*
 * keys.c: a cache of keys and what they stand for.
 *
 * The database decides what a key is. Its answer is used for FRESH_US; then one
 * request asks again, while others go on with the cached answer. An answer
 * older than LIMIT_US is not used: then all requests with that key wait for the
 * one that asks. So a key in constant use costs one query every two seconds,
 * and a revoked key stops working within five, whatever state the database is
 * in.
 *
 * The cache holds SHA-256 digests, not keys, and compares them in constant
 * time. Its size is fixed, and an invalid key never replaces a valid one:
 * guessing keys does not evict those in use. Nor does it keep the pool busy:
 * only ASKERS_MAX queries run at a time.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "clock.h"
#include "guard/keys.h"

/* Chosen so that a revoked key stops working within five seconds. */
#define FRESH_US (2 * SECOND_US)
#define LIMIT_US (4 * SECOND_US)

#define BUCKETS 512 /* a power of two */
#define PLACES 8	/* of a bucket: 4096 keys, 1.5 MB */

/* Concurrent queries, each on a connection of the pool. */
#define ASKERS_MAX 2

/* How long a request waits for a connection, or for another query. */
#define BORROW_MS 2000

typedef struct Entry
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	int64_t asked_us; /* when the query was sent; 0: free */
	int64_t until_us; /* when the key expires */
	bool good;		  /* a valid key */
	bool asking;	  /* a request is asking again */
	Caller caller;
} Entry;

struct Keys
{
	const Config *config;
	Log *log;
	Pool *pool;

	pthread_mutex_t mutex;	 /* guards the members below */
	pthread_cond_t answered; /* a query has ended */
	int askers;
	Entry (*entries)[PLACES];
};

/* The sixth column: microseconds until it expires, NULL if it does not. */
static const char identify_sql[] =
	"SELECT prefix, tenant_id, pg_catalog.array_to_string(scopes, ' '),"
	" requests_per_second, burst,"
	" CASE WHEN pg_catalog.isfinite(expires_at) THEN"
	" (extract(epoch FROM expires_at - pg_catalog.clock_timestamp())"
	" * 1000000)::bigint END, owner"
	" FROM msgstore.authenticate($1)";

static const char there_sql[] = "SELECT msgstore.has_api_keys()";

/* The result of a look-up in the cache. */
typedef enum Look
{
	LOOK_KNOWN,
	LOOK_ASK,	  /* this request asks the database */
	LOOK_TOO_LONG /* its turn did not come in time */
} Look;

static Look look_up(Keys *keys, const unsigned char *digest, Entry *known);
static Entry *find_entry(Keys *keys, const unsigned char *digest);
static Entry *find_place(Keys *keys, const unsigned char *digest, bool good);
static bool is_usable(const Entry *entry, int64_t now, int64_t age_us);
static KeyAnswer
ask(Keys *keys, const char *key, Entry *answer, const char **why);
static bool read_caller(const PGresult *result, Entry *answer);
static unsigned read_scopes(const char *names);
static void keep_answer(Keys *keys, KeyAnswer said, Entry *answer);

Keys *
keys_create(const Config *config, Log *log, Pool *pool)
{
	Keys *keys = calloc(1, sizeof(*keys));

	if (keys == NULL)
		return NULL;
	keys->config = config;
	keys->log = log;
	keys->pool = pool;
	pthread_mutex_init(&keys->mutex, NULL);
	clock_init_condition(&keys->answered);
	keys->entries = calloc(BUCKETS, sizeof(*keys->entries));
	if (keys->entries != NULL)
		return keys;
	keys_free(keys);
	return NULL;
}

void
keys_free(Keys *keys)
{
	pthread_cond_destroy(&keys->answered);
	pthread_mutex_destroy(&keys->mutex);
	free(keys->entries);
	free(keys);
}

KeyAnswer
keys_identify(Keys *keys, const char *key, Caller *caller, const char **why)
{
	Entry answer = {0};
	KeyAnswer said = KEY_GOOD;

	SHA256((const unsigned char *) key, strlen(key), answer.digest);
	*why = "too many keys are being checked";
	switch (look_up(keys, answer.digest, &answer))
	{
		case LOOK_TOO_LONG:
			return KEY_UNAVAILABLE;
		case LOOK_ASK:
			said = ask(keys, key, &answer, why);
			keep_answer(keys, said, &answer);
			break;
		case LOOK_KNOWN:
			break;
	}
	/* Without an answer, keep_answer may have found a usable cached one. */
	if (answer.asked_us == 0)
		return KEY_UNAVAILABLE;
	if (!answer.good)
		return KEY_UNKNOWN;
	*caller = answer.caller;
	return KEY_GOOD;
}

KeysThere
keys_look(Keys *keys)
{
	const char *why;
	PoolConnection *connection =
		pool_borrow(keys->pool, POOL_SERVICE, BORROW_MS, &why);
	KeysThere there = KEYS_NOT_KNOWN;
	QueryOutcome outcome;

	if (connection == NULL)
		return KEYS_NOT_KNOWN;
	outcome = pool_query(connection, "", there_sql, 0, NULL);
	pool_return(keys->pool, connection);
	if (strcmp(outcome.sqlstate, "00000") == 0)
		there = strcmp(PQgetvalue(outcome.result, 0, 0), "t") == 0 ? KEYS_THERE
																   : KEYS_NONE;
	PQclear(outcome.result);
	return there;
}

/*
 * Copies the cached answer, or makes this request the one that asks. A request
 * whose turn it is not uses the cached answer unless it is too old.
 */
static Look
look_up(Keys *keys, const unsigned char *digest, Entry *known)
{
	struct timespec until = clock_timespec(clock_us() + BORROW_MS * 1000);
	Look look = LOOK_TOO_LONG;
	int ended = 0;

	pthread_mutex_lock(&keys->mutex);
	while (look == LOOK_TOO_LONG && ended == 0)
	{
		Entry *entry = find_entry(keys, digest);
		int64_t now = clock_us();
		bool turn =
			keys->askers < ASKERS_MAX && (entry == NULL || !entry->asking);

		if (entry != NULL && is_usable(entry, now, turn ? FRESH_US : LIMIT_US))
		{
			*known = *entry;
			look = LOOK_KNOWN;
		}
		else if (turn)
		{
			if (entry != NULL)
				entry->asking = true;
			keys->askers++;
			look = LOOK_ASK;
		}
		else
			ended =
				pthread_cond_timedwait(&keys->answered, &keys->mutex, &until);
	}
	pthread_mutex_unlock(&keys->mutex);
	return look;
}

static Entry *
find_entry(Keys *keys, const unsigned char *digest)
{
	Entry *places = keys->entries[(digest[0] | digest[1] << 8) % BUCKETS];

	for (int i = 0; i < PLACES; i++)
	{
		if (places[i].asked_us != 0 &&
			CRYPTO_memcmp(places[i].digest, digest, SHA256_DIGEST_LENGTH) == 0)
			return &places[i];
	}
	return NULL;
}

/*
 * The place for a new answer: the oldest of those that are free, too old, or
 * an invalid key. Only a valid key may replace another valid key.
 */
static Entry *
find_place(Keys *keys, const unsigned char *digest, bool good)
{
	Entry *places = keys->entries[(digest[0] | digest[1] << 8) % BUCKETS];
	int64_t now = clock_us();
	Entry *oldest = NULL;
	Entry *useless = NULL;

	for (int i = 0; i < PLACES; i++)
	{
		Entry *place = &places[i];

		if (oldest == NULL || place->asked_us < oldest->asked_us)
			oldest = place;
		if ((!place->good || !is_usable(place, now, LIMIT_US)) &&
			(useless == NULL || place->asked_us < useless->asked_us))
			useless = place;
	}
	return useless != NULL ? useless : good ? oldest : NULL;
}

static bool
is_usable(const Entry *entry, int64_t now, int64_t age_us)
{
	return now - entry->asked_us < age_us &&
		   (!entry->good || now < entry->until_us);
}

static KeyAnswer
ask(Keys *keys, const char *key, Entry *answer, const char **why)
{
	int64_t now = clock_us();
	PoolConnection *connection =
		pool_borrow(keys->pool, POOL_SERVICE, BORROW_MS, why);
	KeyAnswer said = KEY_UNAVAILABLE;
	QueryOutcome outcome;

	if (connection == NULL)
		return KEY_UNAVAILABLE;
	outcome = pool_query(connection, "", identify_sql, 1, &key);
	pool_return(keys->pool, connection);
	*why = "database is not available";
	if (strcmp(outcome.sqlstate, "00000") != 0)
	{
		if (outcome.result != NULL)
			log_event(
				keys->log,
				LOG_ERROR,
				"could not check a key: database error %s: %s",
				outcome.sqlstate,
				PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
	}
	else if (PQntuples(outcome.result) == 0)
		said = KEY_UNKNOWN;
	else if (read_caller(outcome.result, answer))
		said = KEY_GOOD;
	else
		log_event(keys->log, LOG_ERROR, "tenant of a key exceeds 255 bytes");
	PQclear(outcome.result);
	if (said != KEY_UNAVAILABLE)
		answer->asked_us = now;
	answer->good = said == KEY_GOOD;
	return said;
}

static bool
read_caller(const PGresult *result, Entry *answer)
{
	Caller *caller = &answer->caller;
	const char *left_us = PQgetvalue(result, 0, 5);

	snprintf(caller->prefix,
			 sizeof(caller->prefix),
			 "%s",
			 PQgetvalue(result, 0, 0));
	snprintf(caller->tenant,
			 sizeof(caller->tenant),
			 "%s",
			 PQgetvalue(result, 0, 1));
	snprintf(caller->owner,
			 sizeof(caller->owner),
			 "%s",
			 PQgetvalue(result, 0, 6));
	caller->scopes = read_scopes(PQgetvalue(result, 0, 2));
	caller->rate = atol(PQgetvalue(result, 0, 3));
	caller->burst = atol(PQgetvalue(result, 0, 4));
	answer->until_us =
		left_us[0] != '\0' ? clock_us() + atoll(left_us) : INT64_MAX;
	return strlen(PQgetvalue(result, 0, 1)) < sizeof(caller->tenant);
}

/* Scopes that this gateway does not know are ignored. */
static unsigned
read_scopes(const char *names)
{
	static const struct
	{
		const char *name;
		Scope scope;
	} known[] = {{"ingest", SCOPE_INGEST},
				 {"send", SCOPE_SEND},
				 {"read", SCOPE_READ},
				 {"responses", SCOPE_RESPONSES},
				 {"append", SCOPE_APPEND},
				 {"consume", SCOPE_CONSUME},
				 {"operate", SCOPE_OPERATE}};
	unsigned scopes = SCOPE_NONE;

	while (*names != '\0')
	{
		size_t length = strcspn(names, " ");

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		{
			if (strlen(known[i].name) == length &&
				memcmp(known[i].name, names, length) == 0)
				scopes |= known[i].scope;
		}
		names += length;
		names += *names == ' ';
	}
	return scopes;
}

/*
 * Caches the answer; without one, copies the cached answer if it can still be
 * used.
 */
static void
keep_answer(Keys *keys, KeyAnswer said, Entry *answer)
{
	Entry *entry;

	pthread_mutex_lock(&keys->mutex);
	keys->askers--;
	entry = find_entry(keys, answer->digest);
	if (entry != NULL)
		entry->asking = false;
	if (said == KEY_UNAVAILABLE)
	{
		if (entry != NULL && is_usable(entry, clock_us(), LIMIT_US))
			*answer = *entry;
	}
	else
	{
		if (entry == NULL)
			entry = find_place(keys, answer->digest, answer->good);
		if (entry != NULL)
			*entry = *answer;
	}
	pthread_cond_broadcast(&keys->answered);
	pthread_mutex_unlock(&keys->mutex);
}

/*
 * sources.c: a cache of the limits of sources, which also counts what became
 * of their webhooks.
 *
 * They must be known before a body is read. An answer of the database is used
 * for FRESH_US, so a source in constant use costs a query every two seconds. A
 * path that does not exist is never kept: guessing paths evicts nothing. Of
 * several requests whose answer has become old, one asks and the others go on
 * with it.
 *
 * Counts are kept here, and not in the database, so that a webhook that is not
 * accepted writes nothing there. A source that loses its place begins again.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "clock.h"
#include "guard/sources.h"

#define FRESH_US (2 * SECOND_US)

/* How much longer an old answer is used while somebody asks again. */
#define ASKING_US (10 * SECOND_US)

#define BUCKETS 256 /* a power of two */
#define PLACES 4	/* of a bucket: 1024 sources, 400 kB */

#define PATH_LENGTH 43

/* Of the path, as in the log; the rest is a secret. */
#define SHOWN_LENGTH 11

static const char *const outcomes[] = {"accepted", "refused", "unverified"};

#define OUTCOMES (sizeof(outcomes) / sizeof(outcomes[0]))

typedef struct Entry
{
	char path[PATH_LENGTH + 1];
	int64_t until_us; /* 0: free */
	SourceLimits limits;
	unsigned long long counts[OUTCOMES];
} Entry;

struct Sources
{
	Pool *pool;

	pthread_mutex_t mutex; /* guards the entries */
	Entry entries[BUCKETS][PLACES];
};

static const char limits_sql[] =
	"SELECT tenant_id, max_body_bytes, too_large_status, requests_per_second,"
	" burst, source FROM msgstore.webhook_limits($1)";

static Entry *find_bucket(Sources *sources, const char *path);
static Entry *find_entry(Entry *bucket, const char *path);
static bool look_up(Sources *sources, const char *path, SourceLimits *limits);
static void
keep(Sources *sources, const char *path, const SourceLimits *limits);
static void read_limits(const PGresult *row, SourceLimits *limits);

Sources *
sources_create(Pool *pool)
{
	Sources *sources = calloc(1, sizeof(*sources));

	if (sources == NULL)
		return NULL;
	sources->pool = pool;
	pthread_mutex_init(&sources->mutex, NULL);
	return sources;
}

void
sources_free(Sources *sources)
{
	pthread_mutex_destroy(&sources->mutex);
	free(sources);
}

const char *
sources_find(Sources *sources,
			 const char *path,
			 SourceLimits *limits,
			 const char **why)
{
	static _Thread_local char sqlstate[6];
	PoolConnection *connection;
	QueryOutcome outcome;

	*why = "source does not exist";
	if (strlen(path) != PATH_LENGTH)
		return "MS404";
	if (look_up(sources, path, limits))
		return "00000";
	connection = pool_borrow(sources->pool, POOL_INGEST, 0, why);
	if (connection == NULL)
		return "08001";
	outcome = pool_query(connection, "", limits_sql, 1, &path);
	pool_return(sources->pool, connection);
	snprintf(sqlstate, sizeof(sqlstate), "%s", outcome.sqlstate);
	if (strcmp(sqlstate, "00000") == 0)
	{
		read_limits(outcome.result, limits);
		keep(sources, path, limits);
	}
	else if (strcmp(sqlstate, "MS404") != 0)
		*why = "limits of the source are not known";
	PQclear(outcome.result);
	return sqlstate;
}

void
sources_count(Sources *sources, const char *path, const char *outcome)
{
	Entry *entry;

	pthread_mutex_lock(&sources->mutex);
	entry = find_entry(find_bucket(sources, path), path);
	for (size_t i = 0; i < OUTCOMES && entry != NULL; i++)
		entry->counts[i] += strcmp(outcomes[i], outcome) == 0;
	pthread_mutex_unlock(&sources->mutex);
}

/* Names need no escapes. Those of two tenants may be the same. */
void
sources_write_counts(Sources *sources, const char *metric, Text *out)
{
	const Entry *entry = sources->entries[0];

	pthread_mutex_lock(&sources->mutex);
	for (int n = 0; n < BUCKETS * PLACES; n++, entry++)
	{
		for (size_t i = 0; i < OUTCOMES && entry->until_us != 0; i++)
			text_addf(out,
					  "msgstore_%s{source=\"%s\",path=\"%.*s\",outcome=\"%s\"} "
					  "%llu\n",
					  metric,
					  entry->limits.name,
					  SHOWN_LENGTH,
					  entry->path,
					  outcomes[i],
					  entry->counts[i]);
	}
	pthread_mutex_unlock(&sources->mutex);
}

/* The digits of a path are random. */
static Entry *
find_bucket(Sources *sources, const char *path)
{
	char digits[3] = {path[3], path[4], '\0'};

	return sources->entries[strtoul(digits, NULL, 16) & (BUCKETS - 1)];
}

/* In constant time, so that it tells nothing about the paths of others. */
static Entry *
find_entry(Entry *bucket, const char *path)
{
	Entry *found = NULL;

	for (int i = 0; i < PLACES; i++)
	{
		if (CRYPTO_memcmp(bucket[i].path, path, PATH_LENGTH) == 0)
			found = &bucket[i];
	}
	return found;
}

static bool
look_up(Sources *sources, const char *path, SourceLimits *limits)
{
	int64_t now = clock_us();
	Entry *entry;
	bool known;

	pthread_mutex_lock(&sources->mutex);
	entry = find_entry(find_bucket(sources, path), path);
	known = entry != NULL && now < entry->until_us;
	if (known)
		*limits = entry->limits;
	else if (entry != NULL && now < entry->until_us + ASKING_US)
		entry->until_us = now + FRESH_US;
	pthread_mutex_unlock(&sources->mutex);
	return known;
}

static void
keep(Sources *sources, const char *path, const SourceLimits *limits)
{
	Entry *bucket;
	Entry *entry;

	pthread_mutex_lock(&sources->mutex);
	bucket = find_bucket(sources, path);
	entry = find_entry(bucket, path);
	if (entry == NULL)
	{
		entry = bucket;
		for (int i = 1; i < PLACES; i++)
		{
			if (bucket[i].until_us < entry->until_us)
				entry = &bucket[i];
		}
	}
	if (memcmp(entry->path, path, PATH_LENGTH) != 0)
		memset(entry->counts, 0, sizeof(entry->counts));
	memcpy(entry->path, path, PATH_LENGTH + 1);
	entry->until_us = clock_us() + FRESH_US;
	entry->limits = *limits;
	pthread_mutex_unlock(&sources->mutex);
}

static void
read_limits(const PGresult *row, SourceLimits *limits)
{
	memset(limits, 0, sizeof(*limits));
	snprintf(limits->tenant,
			 sizeof(limits->tenant),
			 "%s",
			 PQgetvalue(row, 0, 0));
	limits->max_body_bytes = atol(PQgetvalue(row, 0, 1));
	limits->too_large_status = atoi(PQgetvalue(row, 0, 2));
	limits->rate = atol(PQgetvalue(row, 0, 3));
	limits->burst = atol(PQgetvalue(row, 0, 4));
	snprintf(limits->name, sizeof(limits->name), "%s", PQgetvalue(row, 0, 5));
}

/*
 * stats/shared.c: the counters in shared memory.
 *
 * Entries never move, and are removed only with their database, when nobody is
 * connected to it: a session looks an entry up once and keeps the pointer.
 *
 * Without preloading, the same structures are in the session's own memory.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "server/versions.h"
#include "stats/shared.h"

/* A power of two. */
#define CACHE_SIZE 256

#if PG_VERSION_NUM < 170000
#define MyProcNumber (MyProc->pgprocno)
#endif

LWLock *stats_lock = NULL;

static HTAB *databases = NULL;
static HTAB *channels = NULL;

/* Per backend, the transaction that is about to publish moves, or 0. */
static pg_atomic_uint32 *publishing = NULL;

static StatsDatabase *own = NULL;
static bool own_is_shared = false;

/* Entries that this session has looked up, by the hash of their names. */
static StatsChannel *cache[CACHE_SIZE];

static Size publishing_size(void);
static HASHCTL channels_info(void);
static void init_database(StatsDatabase *database);
static StatsChannel *find_channel(const char *tenant_id,
								  int tenant_len,
								  const char *channel,
								  int channel_len);
static StatsChannel *find_other_channel(void);
static StatsChannel *enter_channel(const StatsChannelKey *key, int most);
static bool is_named(const StatsChannel *entry,
					 const char *tenant_id,
					 int tenant_len,
					 const char *channel,
					 int channel_len);
static void init_channel(StatsChannel *channel);
static void init_gauges(StatsGaugeState *gauges);
static void forget_channels(Oid database);

void
stats_shmem_request(void)
{
	RequestAddinShmemSpace(
		hash_estimate_size(STATS_DATABASES, sizeof(StatsDatabase)));
	RequestAddinShmemSpace(hash_estimate_size(STATS_CHANNELS + STATS_DATABASES,
											  sizeof(StatsChannel)));
	RequestAddinShmemSpace(publishing_size());
	RequestAddinShmemSpace(stats_worker_shmem_size());
	RequestAddinShmemSpace(stats_progress_shmem_size());
	RequestNamedLWLockTranche("msgstore_stats", 1);
}

void
stats_shmem_startup(void)
{
	HASHCTL info = {.keysize = sizeof(Oid), .entrysize = sizeof(StatsDatabase)};
	HASHCTL info_of_channels = channels_info();
	bool found;
	int i;

	stats_lock = &GetNamedLWLockTranche("msgstore_stats")->lock;
	databases = ShmemInitHash("msgstore stats",
							  STATS_DATABASES,
							  &info,
							  HASH_ELEM | HASH_BLOBS);
	channels = ShmemInitHash("msgstore channel stats",
							 STATS_CHANNELS + STATS_DATABASES,
							 &info_of_channels,
							 HASH_ELEM | HASH_BLOBS);
	publishing =
		ShmemInitStruct("msgstore stats publishing", publishing_size(), &found);
	for (i = 0; i < MaxBackends && !found; i++)
		pg_atomic_init_u32(&publishing[i], InvalidTransactionId);
	stats_worker_shmem_startup();
	stats_progress_shmem_startup();
}

static Size
publishing_size(void)
{
	return mul_size(MaxBackends, sizeof(pg_atomic_uint32));
}

static HASHCTL
channels_info(void)
{
	return (HASHCTL){.keysize = sizeof(StatsChannelKey),
					 .entrysize = sizeof(StatsChannel)};
}

/* Nobody is connected to the database, so no pointers to entries are left. */
void
stats_forget_database(Oid database)
{
	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	forget_channels(database);
	(void) hash_search(databases, &database, HASH_REMOVE, NULL);
	LWLockRelease(stats_lock);
	stats_worker_forget_database(database);
}

/* Without free shared memory the entry is local to the session. */
StatsDatabase *
stats_own_database(bool *shared)
{
	static StatsDatabase local;
	bool found;

	if (own == NULL && databases != NULL)
	{
		LWLockAcquire(stats_lock, LW_EXCLUSIVE);
		own = hash_search(databases, &MyDatabaseId, HASH_ENTER_NULL, &found);
		if (own != NULL && !found)
			init_database(own);
		LWLockRelease(stats_lock);
		own_is_shared = own != NULL;
	}
	if (own == NULL)
	{
		init_database(&local);
		own = &local;
	}
	if (shared != NULL)
		*shared = own_is_shared;
	return own;
}

void
stats_note_outside(void)
{
	pg_atomic_write_u64(&stats_own_database(NULL)->outside_at,
						(uint64) GetCurrentTimestamp());
}

TimestampTz
stats_outside_at(void)
{
	return (TimestampTz) pg_atomic_read_u64(
		&stats_own_database(NULL)->outside_at);
}

static void
init_database(StatsDatabase *database)
{
	int i;

	for (i = 0; i < STATS_COUNTERS; i++)
		pg_atomic_init_u64(&database->counters[i], 0);
	init_gauges(database->gauges);
	pg_atomic_init_u64(&database->publications, 0);
	memset(database->base_storage, 0, sizeof(database->base_storage));
	memset(database->channels_storage, 0, sizeof(database->channels_storage));
	database->recounts = 0;
	pg_atomic_init_u64(&database->outside_at, 0);
	pg_atomic_init_u64(&database->latency_sum, 0);
	pg_atomic_init_u64(&database->latency_max, 0);
	for (i = 0; i < STATS_HISTOGRAM_BUCKETS; i++)
		pg_atomic_init_u64(&database->latencies[i], 0);
}

StatsChannel *
stats_own_channel(const char *tenant_id,
				  int tenant_len,
				  const char *channel,
				  int channel_len)
{
	uint32 hash =
		hash_combine(hash_bytes((const unsigned char *) tenant_id, tenant_len),
					 hash_bytes((const unsigned char *) channel, channel_len));
	StatsChannel **cached = &cache[hash & (CACHE_SIZE - 1)];
	StatsChannel *entry = *cached;

	if (entry != NULL &&
		is_named(entry, tenant_id, tenant_len, channel, channel_len))
		return entry;
	entry = find_channel(tenant_id, tenant_len, channel, channel_len);
	if (entry == NULL)
		entry = find_other_channel();
	*cached = entry;
	return entry;
}

static bool
is_named(const StatsChannel *entry,
		 const char *tenant_id,
		 int tenant_len,
		 const char *channel,
		 int channel_len)
{
	const StatsChannelKey *key = &entry->key;

	return tenant_len < STATS_NAME_SIZE && channel_len < STATS_NAME_SIZE &&
		   memcmp(key->tenant_id, tenant_id, tenant_len) == 0 &&
		   key->tenant_id[tenant_len] == '\0' &&
		   memcmp(key->channel, channel, channel_len) == 0 &&
		   key->channel[channel_len] == '\0';
}

/* Returns NULL if a name is too long or there is no room. */
static StatsChannel *
find_channel(const char *tenant_id,
			 int tenant_len,
			 const char *channel,
			 int channel_len)
{
	StatsChannelKey key;
	StatsChannel *entry;
	bool is_full;

	if (tenant_len >= STATS_NAME_SIZE || channel_len >= STATS_NAME_SIZE)
		return NULL;
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	memcpy(key.tenant_id, tenant_id, tenant_len);
	memcpy(key.channel, channel, channel_len);
	if (stats_lock == NULL)
		return enter_channel(&key, STATS_CHANNELS);
	LWLockAcquire(stats_lock, LW_SHARED);
	entry = hash_search(channels, &key, HASH_FIND, NULL);
	is_full = hash_get_num_entries(channels) >= STATS_CHANNELS;
	LWLockRelease(stats_lock);
	if (entry != NULL || is_full)
		return entry;
	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	entry = enter_channel(&key, STATS_CHANNELS);
	LWLockRelease(stats_lock);
	return entry;
}

/* Room for one such entry per database is reserved. */
static StatsChannel *
find_other_channel(void)
{
	static StatsChannel none;
	static StatsChannel *other = NULL;
	StatsChannelKey key;

	if (other != NULL)
		return other;
	memset(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	strcpy(key.channel, "other");
	if (stats_lock != NULL)
		LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	other = enter_channel(&key, STATS_MAX_CHANNELS);
	if (stats_lock != NULL)
		LWLockRelease(stats_lock);
	if (other == NULL)
	{
		init_channel(&none);
		other = &none;
	}
	return other;
}

/* Returns NULL if there is no room. The caller holds the lock, if any. */
static StatsChannel *
enter_channel(const StatsChannelKey *key, int most)
{
	StatsChannel *entry;
	bool found;

	if (channels == NULL)
	{
		HASHCTL info = channels_info();

		channels = hash_create("msgstore channel stats",
							   STATS_CHANNELS,
							   &info,
							   HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(channels, key, HASH_FIND, NULL);
	if (entry != NULL || hash_get_num_entries(channels) >= most)
		return entry;
	entry = hash_search(channels,
						key,
						stats_lock != NULL ? HASH_ENTER_NULL : HASH_ENTER,
						&found);
	if (entry != NULL)
		init_channel(entry);
	return entry;
}

static void
init_channel(StatsChannel *channel)
{
	int i;

	for (i = 0; i < STATS_OUTCOMES; i++)
		pg_atomic_init_u64(&channel->outcomes[i], 0);
	init_gauges(channel->gauges);
}

static void
init_gauges(StatsGaugeState *gauges)
{
	int i;

	for (i = 0; i < STATS_GAUGES; i++)
	{
		pg_atomic_init_u64(&gauges[i].moved, 0);
		pg_atomic_init_u64(&gauges[i].base, 0);
	}
}

int
stats_own_channels(StatsChannel ***list)
{
	HASH_SEQ_STATUS scan;
	StatsChannel *entry;
	int n = 0;

	*list = palloc(sizeof(StatsChannel *) * STATS_MAX_CHANNELS);
	if (channels == NULL)
		return 0;
	if (stats_lock != NULL)
		LWLockAcquire(stats_lock, LW_SHARED);
	hash_seq_init(&scan, channels);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.database == MyDatabaseId)
			(*list)[n++] = entry;
	}
	if (stats_lock != NULL)
		LWLockRelease(stats_lock);
	return n;
}

static void
forget_channels(Oid database)
{
	HASH_SEQ_STATUS scan;
	StatsChannel *entry;

	hash_seq_init(&scan, channels);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->key.database == database)
			(void) hash_search(channels, &entry->key, HASH_REMOVE, NULL);
	}
}

void
stats_begin_publishing(void)
{
	if (publishing != NULL)
		pg_atomic_write_u32(&publishing[MyProcNumber],
							GetTopTransactionIdIfAny());
	pg_memory_barrier();
}

void
stats_end_publishing(void)
{
	pg_memory_barrier();
	if (publishing != NULL)
		pg_atomic_write_u32(&publishing[MyProcNumber], InvalidTransactionId);
}

bool
stats_has_unpublished(Snapshot snapshot)
{
	int i;

	if (publishing == NULL)
		return true;
	pg_memory_barrier();
	for (i = 0; i < MaxBackends; i++)
	{
		TransactionId xid = pg_atomic_read_u32(&publishing[i]);

		if (TransactionIdIsValid(xid) && !XidInMVCCSnapshot(xid, snapshot))
			return true;
	}
	pg_memory_barrier();
	return false;
}

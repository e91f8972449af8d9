/*
 * stats/gauges.c: numbers of queued events and dead letters, without counting
 * rows.
 *
 * A gauge is a base plus the moves (rows inserted less rows deleted) since the
 * server started. Transactions publish their moves when they commit. The base
 * is unknown at first. It is a count of the rows less the moves published so
 * far, which is right only if the snapshot of the count sees exactly the
 * transactions that have published. A commit becomes visible first and is
 * published a moment later, so a reading takes these steps:
 *
 *   1. Read the number of publications, and the published moves.
 *   2. Take the snapshot.
 *   3. Look for transactions that are about to publish (they announce it before
 *      they commit, until they have published). One that the snapshot sees is
 *      missing in 1 but will be counted.
 *   4. Read the number of publications again. A transaction that has published
 *      since 1 is missing in 1 but may be counted.
 *
 * If neither 3 nor 4 finds one, everything visible was published before 1, and
 * everything published before 1 is visible, because transactions publish after
 * they become visible. The steps take microseconds and are repeated until this
 * holds; the count can then take as long as it needs. Without such a snapshot
 * the base is not kept: the count alone is returned, and the next reading tries
 * again.
 *
 * Changes that do not move the gauge (a COPY into the queue, a DELETE by hand,
 * a prepared transaction between its two phases) make it wrong. So a reading
 * that finds the table empty returns zero and corrects the base, and one that
 * finds a row while the gauge is not positive counts, as after a TRUNCATE.
 * recount() forces a count.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "stats/gauges.h"

/* After this many tries a reading returns its count without a base. */
#define MAX_TRIES 1000

static const char *const tables[STATS_GAUGES] = {"event_queue", "dead_letters"};

static const char *const counts[STATS_GAUGES] = {
	"SELECT count(*) FROM msgstore.event_queue",
	"SELECT count(*) FROM msgstore.dead_letters"};

/* The channel of an event is in event_log, that of a message in messages. */
static const char *const channel_counts[STATS_GAUGES] = {
	"SELECT q.tenant_id, coalesce(l.channel, 'other'), count(*)"
	" FROM msgstore.event_queue q LEFT JOIN msgstore.event_log l"
	" ON l.tenant_id = q.tenant_id AND l.id = q.event_id GROUP BY 1, 2",
	"SELECT d.tenant_id, coalesce(l.channel, m.channel, 'other'), count(*)"
	" FROM msgstore.dead_letters d"
	" LEFT JOIN msgstore.event_log l ON d.direction = 'inbound'"
	" AND l.tenant_id = d.tenant_id AND l.id = d.event_id"
	" LEFT JOIN msgstore.messages m ON d.direction = 'outbound'"
	" AND m.tenant_id = d.tenant_id AND m.id = d.event_id GROUP BY 1, 2"};

/* A snapshot, and the moves that were published when it was taken. */
typedef struct Reading
{
	StatsDatabase *database;
	Snapshot snapshot; /* registered */
	bool exact;		   /* it sees the published moves and no others */
	uint64 recounts;
	Oid storage[STATS_GAUGES];
	bool any[STATS_GAUGES];	   /* whether the table has a row */
	int64 moved[STATS_GAUGES]; /* including those of this transaction */
	StatsGauges *gauges;	   /* the result */

	/* only if channels are read */
	int nchannels;
	StatsChannel **channels;
	int64 (*channel_moved)[STATS_GAUGES];
	int64 (*channel_values)[STATS_GAUGES];
} Reading;

static void begin_reading(Reading *reading);
static void list_channels(Reading *reading);
static void end_reading(Reading *reading);
static void read_moves(Reading *reading);
static int64 moved_now(const StatsGaugeState *gauges, StatsGauge gauge);
static Oid storage_of(StatsGauge gauge);
static bool get_base(const Reading *reading, StatsGauge gauge, int64 *base);
static void set_base(const Reading *reading, StatsGauge gauge, int64 count);
static void look(Reading *reading, StatsGauges *gauges);
static int64 reckon(const Reading *reading, StatsGauge gauge);
static int64 count(const Reading *reading, StatsGauge gauge);
static void reckon_channels(Reading *reading, StatsGauge gauge);
static bool get_channel_bases(Reading *reading, StatsGauge gauge);
static void set_channel_bases(const Reading *reading, StatsGauge gauge);
static void count_channels(Reading *reading, StatsGauge gauge);
static int channel_index(Reading *reading, StatsChannel *channel);
static void query(const char *sql, Snapshot snapshot);

void
stats_read_gauges(StatsGauges *gauges)
{
	Reading reading = {0};
	int i;

	begin_reading(&reading);
	SPI_connect();
	look(&reading, gauges);
	for (i = 0; i < STATS_GAUGES; i++)
		gauges->values[i] = reckon(&reading, i);
	SPI_finish();
	end_reading(&reading);
}

int
stats_read_channels(StatsChannel ***channels, int64 (**values)[STATS_GAUGES])
{
	Reading reading = {0};
	StatsGauges gauges;
	int i;

	list_channels(&reading);
	begin_reading(&reading);
	SPI_connect();
	look(&reading, &gauges);
	for (i = 0; i < STATS_GAUGES; i++)
	{
		(void) reckon(&reading, i);
		reckon_channels(&reading, i);
	}
	SPI_finish();
	end_reading(&reading);
	*channels = reading.channels;
	*values = reading.channel_values;
	return reading.nchannels;
}

/* Does not look at the table if the base is known. */
int64
stats_read_gauge(StatsGauge gauge)
{
	Reading reading = {0};
	int64 base;
	int64 value;

	reading.database = stats_own_database(NULL);
	reading.storage[gauge] = storage_of(gauge);
	if (get_base(&reading, gauge, &base))
		return Max(base + moved_now(reading.database->gauges, gauge) +
					   stats_own_moves(gauge, NULL),
				   0);
	begin_reading(&reading);
	SPI_connect();
	value = count(&reading, gauge);
	SPI_finish();
	end_reading(&reading);
	return value;
}

void
stats_recount(void)
{
	StatsDatabase *database = stats_own_database(NULL);

	if (stats_lock == NULL)
		return;
	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	memset(database->base_storage, 0, sizeof(database->base_storage));
	memset(database->channels_storage, 0, sizeof(database->channels_storage));
	database->recounts++;
	LWLockRelease(stats_lock);
}

/*
 * See the head of this file. A base can be kept only if all sessions share the
 * counters, and not on a standby, where rows change by replay.
 */
static void
begin_reading(Reading *reading)
{
	bool shared;
	int tries;
	int i;

	reading->database = stats_own_database(&shared);
	shared = shared && !RecoveryInProgress();
	reading->recounts = reading->database->recounts;
	for (i = 0; i < STATS_GAUGES; i++)
		reading->storage[i] = storage_of(i);
	for (tries = 0;; tries++)
	{
		pg_atomic_uint64 *publications = &reading->database->publications;
		uint64 before = pg_atomic_read_u64(publications);

		pg_read_barrier();
		read_moves(reading);
		reading->snapshot = RegisterSnapshot(GetLatestSnapshot());
		reading->exact = shared && !stats_has_unpublished(reading->snapshot) &&
						 pg_atomic_read_u64(publications) == before;
		if (reading->exact || !shared || tries == MAX_TRIES)
			break;
		UnregisterSnapshot(reading->snapshot);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Allocates in the caller's context, which outlives the SPI connection. */
static void
list_channels(Reading *reading)
{
	reading->nchannels = stats_own_channels(&reading->channels);
	reading->channel_moved =
		palloc0(sizeof(*reading->channel_moved) * STATS_MAX_CHANNELS);
	reading->channel_values =
		palloc0(sizeof(*reading->channel_values) * STATS_MAX_CHANNELS);
}

static void
end_reading(Reading *reading)
{
	UnregisterSnapshot(reading->snapshot);
}

/* The snapshot sees this transaction's changes, so its moves are added. */
static void
read_moves(Reading *reading)
{
	int gauge;
	int i;

	for (gauge = 0; gauge < STATS_GAUGES; gauge++)
	{
		reading->moved[gauge] = moved_now(reading->database->gauges, gauge) +
								stats_own_moves(gauge, NULL);
		for (i = 0; i < reading->nchannels; i++)
			reading->channel_moved[i][gauge] =
				moved_now(reading->channels[i]->gauges, gauge) +
				stats_own_moves(gauge, reading->channels[i]);
	}
}

static int64
moved_now(const StatsGaugeState *gauges, StatsGauge gauge)
{
	return (int64) pg_atomic_read_u64(
		unconstify(pg_atomic_uint64 *, &gauges[gauge].moved));
}

/* Reads the catalog without locking the table. */
static Oid
storage_of(StatsGauge gauge)
{
	Oid table =
		get_relname_relid(tables[gauge], get_namespace_oid("msgstore", false));
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid storage;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "table \"%s\" does not exist", tables[gauge]);
	storage = ((Form_pg_class) GETSTRUCT(tuple))->relfilenode;
	ReleaseSysCache(tuple);
	return storage;
}

static bool
get_base(const Reading *reading, StatsGauge gauge, int64 *base)
{
	StatsDatabase *database = reading->database;
	bool known;

	if (stats_lock == NULL)
		return false;
	LWLockAcquire(stats_lock, LW_SHARED);
	known = database->base_storage[gauge] == reading->storage[gauge];
	*base = (int64) pg_atomic_read_u64(&database->gauges[gauge].base);
	LWLockRelease(stats_lock);
	return known && !RecoveryInProgress();
}

/* Sets the base from the number of rows that the snapshot sees. */
static void
set_base(const Reading *reading, StatsGauge gauge, int64 count)
{
	StatsDatabase *database = reading->database;
	int64 base = count - reading->moved[gauge];
	int64 known;

	if (!reading->exact || (get_base(reading, gauge, &known) && known == base))
		return;
	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	if (database->recounts == reading->recounts)
	{
		pg_atomic_write_u64(&database->gauges[gauge].base, base);
		database->base_storage[gauge] = reading->storage[gauge];
		/* If the total was wrong, a channel's value was wrong, too. */
		database->channels_storage[gauge] = InvalidOid;
	}
	LWLockRelease(stats_lock);
}

static void
look(Reading *reading, StatsGauges *gauges)
{
	HeapTuple row;
	bool isnull;
	Datum oldest;

	query("SELECT oldest_event, any_dead FROM msgstore._work_left()",
		  reading->snapshot);
	row = SPI_tuptable->vals[0];
	oldest = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull);
	gauges->has_oldest = !isnull;
	if (!isnull)
		gauges->oldest = *DatumGetUUIDP(oldest);
	reading->any[STATS_QUEUED] = !isnull;
	reading->any[STATS_DEAD] =
		DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
	SPI_freetuptable(SPI_tuptable);
}

static int64
reckon(const Reading *reading, StatsGauge gauge)
{
	int64 base;

	if (!reading->any[gauge])
	{
		set_base(reading, gauge, 0);
		return 0;
	}
	if (get_base(reading, gauge, &base) && base + reading->moved[gauge] > 0)
		return base + reading->moved[gauge];
	return count(reading, gauge);
}

static int64
count(const Reading *reading, StatsGauge gauge)
{
	bool isnull;
	int64 found;

	query(counts[gauge], reading->snapshot);
	found = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc,
										1,
										&isnull));
	SPI_freetuptable(SPI_tuptable);
	set_base(reading, gauge, found);
	return found;
}

/* Called after the total was read. */
static void
reckon_channels(Reading *reading, StatsGauge gauge)
{
	int64 base;
	int i;

	if (reading->any[gauge])
	{
		if (get_channel_bases(reading, gauge))
			return;
		/*
		 * If the table was empty when counting began, the base of every channel
		 * is 0. Rows are counted by channel only after a start with events left
		 * or after changes by hand.
		 */
		if (reading->recounts == 0 && get_base(reading, gauge, &base) &&
			base == 0)
		{
			for (i = 0; i < reading->nchannels; i++)
				reading->channel_values[i][gauge] =
					reading->channel_moved[i][gauge];
		}
		else
			count_channels(reading, gauge);
	}
	set_channel_bases(reading, gauge);
}

static bool
get_channel_bases(Reading *reading, StatsGauge gauge)
{
	bool known;
	int i;

	if (stats_lock == NULL)
		return false;
	LWLockAcquire(stats_lock, LW_SHARED);
	known =
		reading->database->channels_storage[gauge] == reading->storage[gauge];
	for (i = 0; i < reading->nchannels && known; i++)
		reading->channel_values[i][gauge] =
			(int64) pg_atomic_read_u64(
				&reading->channels[i]->gauges[gauge].base) +
			reading->channel_moved[i][gauge];
	LWLockRelease(stats_lock);
	return known && !RecoveryInProgress();
}

static void
set_channel_bases(const Reading *reading, StatsGauge gauge)
{
	int i;

	if (!reading->exact)
		return;
	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	if (reading->database->recounts == reading->recounts)
	{
		for (i = 0; i < reading->nchannels; i++)
			pg_atomic_write_u64(&reading->channels[i]->gauges[gauge].base,
								reading->channel_values[i][gauge] -
									reading->channel_moved[i][gauge]);
		reading->database->channels_storage[gauge] = reading->storage[gauge];
	}
	LWLockRelease(stats_lock);
}

static void
count_channels(Reading *reading, StatsGauge gauge)
{
	TupleDesc desc;
	uint64 row;

	query(channel_counts[gauge], reading->snapshot);
	desc = SPI_tuptable->tupdesc;
	for (row = 0; row < SPI_processed; row++)
	{
		HeapTuple tuple = SPI_tuptable->vals[row];
		bool isnull;
		text *tenant_id =
			DatumGetTextPP(SPI_getbinval(tuple, desc, 1, &isnull));
		text *channel = DatumGetTextPP(SPI_getbinval(tuple, desc, 2, &isnull));
		StatsChannel *entry = stats_own_channel(VARDATA_ANY(tenant_id),
												VARSIZE_ANY_EXHDR(tenant_id),
												VARDATA_ANY(channel),
												VARSIZE_ANY_EXHDR(channel));

		reading->channel_values[channel_index(reading, entry)][gauge] +=
			DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* A channel added since the reading began had no moves then. */
static int
channel_index(Reading *reading, StatsChannel *channel)
{
	int i;

	for (i = 0; i < reading->nchannels; i++)
	{
		if (reading->channels[i] == channel)
			return i;
	}
	reading->channels[reading->nchannels++] = channel;
	return i;
}

static void
query(const char *sql, Snapshot snapshot)
{
	SPIPlanPtr plan = SPI_prepare(sql, 0, NULL);
	int rc;

	if (plan == NULL)
		elog(ERROR,
			 "could not prepare \"%s\": %s",
			 sql,
			 SPI_result_code_string(SPI_result));
	rc = SPI_execute_snapshot(plan,
							  NULL,
							  NULL,
							  snapshot,
							  InvalidSnapshot,
							  true,
							  false,
							  0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR,
			 "unexpected SPI result %s of \"%s\"",
			 SPI_result_code_string(rc),
			 sql);
}

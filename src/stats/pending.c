/*
 * stats/pending.c: the counts of the current transaction.
 *
 * They are published when the transaction commits. Each subtransaction level
 * has counts of its own: its commit adds them to the level above, its abort
 * discards them. All memory is allocated while counting, because publishing
 * happens after the commit, where nothing may fail.
 *
 * Between the moment a commit becomes visible and its publication, readers may
 * see rows that the gauges do not include. So a transaction with moves
 * announces itself before it commits; stats/gauges.c asks.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "stats/shared.h"

/* Limit of latencies measured up to the commit; others end when counted. */
#define PENDING_LATENCIES 1024

typedef struct PendingChannel
{
	StatsChannel *channel;
	int64 outcomes[STATS_OUTCOMES];
	int64 moves[STATS_GAUGES];
} PendingChannel;

/*
 * Its channels and latencies start at these positions of the lists, and end
 * where those of the next level start.
 */
typedef struct PendingLevel
{
	int nest_level;
	int first_channel;
	int first_latency;
	int64 counters[STATS_COUNTERS];
	int64 moves[STATS_GAUGES];
} PendingLevel;

/* Allocated in TopTransactionContext; the last level is the deepest. */
static PendingLevel *levels = NULL;
static int nlevels = 0;
static int levels_size = 0;
static PendingChannel *channels = NULL;
static int nchannels = 0;
static int channels_size = 0;
static TimestampTz latencies[PENDING_LATENCIES];
static int nlatencies = 0;

/* Whether the transaction has announced that it is about to commit moves. */
static bool is_publishing = false;

static PendingLevel *own_level(void);
static PendingChannel *own_channel(const text *tenant_id, const text *channel);
static int outcome_of(StatsCounter counter);
static void at_transaction_end(XactEvent event, void *arg);
static bool has_moves(void);
static void publish(void);
static void publish_channel(const PendingChannel *pending);
static void at_subtransaction_end(SubXactEvent event,
								  SubTransactionId own,
								  SubTransactionId parent,
								  void *arg);
static void merge_level(void);
static void merge_channels(int first, int from);

void
stats_init(void)
{
	stats_progress_init();
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
}

void
stats_count(StatsCounter counter, int64 n)
{
	if (n != 0)
		own_level()->counters[counter] += n;
}

void
stats_count_for(StatsCounter counter,
				const text *tenant_id,
				const text *channel,
				int64 n)
{
	int outcome = outcome_of(counter);

	own_level()->counters[counter] += n;
	if (outcome >= 0)
		own_channel(tenant_id, channel)->outcomes[outcome] += n;
}

void
stats_count_now(StatsCounter counter, int64 n)
{
	pg_atomic_fetch_add_u64(&stats_own_database(NULL)->counters[counter], n);
}

void
stats_move(StatsGauge gauge,
		   const text *tenant_id,
		   const text *channel,
		   int64 delta)
{
	own_level()->moves[gauge] += delta;
	own_channel(tenant_id, channel)->moves[gauge] += delta;
}

void
stats_count_latency(TimestampTz accepted_at)
{
	(void) own_level();
	if (nlatencies < PENDING_LATENCIES)
		latencies[nlatencies++] = accepted_at;
	else
		stats_add_latency(stats_own_database(NULL),
						  GetCurrentTimestamp() - accepted_at);
}

int64
stats_own_moves(StatsGauge gauge, const StatsChannel *channel)
{
	int64 moves = 0;
	int i;

	for (i = 0; i < nlevels && channel == NULL; i++)
		moves += levels[i].moves[gauge];
	for (i = 0; i < nchannels && channel != NULL; i++)
	{
		if (channels[i].channel == channel)
			moves += channels[i].moves[gauge];
	}
	return moves;
}

/* Returns the level of the current subtransaction. */
static PendingLevel *
own_level(void)
{
	int nest_level = GetCurrentTransactionNestLevel();
	PendingLevel *level;

	Assert(IsTransactionState());
	if (nlevels > 0 && levels[nlevels - 1].nest_level == nest_level)
		return &levels[nlevels - 1];
	if (levels == NULL)
	{
		levels_size = 4;
		levels = MemoryContextAlloc(TopTransactionContext,
									sizeof(PendingLevel) * levels_size);
	}
	else if (nlevels == levels_size)
	{
		levels = repalloc(levels, sizeof(PendingLevel) * levels_size * 2);
		levels_size *= 2;
	}
	/* Look it up now, so that publishing cannot fail: see the file's head. */
	(void) stats_own_database(NULL);
	level = &levels[nlevels++];
	memset(level, 0, sizeof(PendingLevel));
	level->nest_level = nest_level;
	level->first_channel = nchannels;
	level->first_latency = nlatencies;
	return level;
}

/* Call own_level() before. Searches backwards from the last one added. */
static PendingChannel *
own_channel(const text *tenant_id, const text *channel)
{
	StatsChannel *entry = stats_own_channel(VARDATA_ANY(tenant_id),
											VARSIZE_ANY_EXHDR(tenant_id),
											VARDATA_ANY(channel),
											VARSIZE_ANY_EXHDR(channel));
	int i;

	for (i = nchannels - 1; i >= levels[nlevels - 1].first_channel; i--)
	{
		if (channels[i].channel == entry)
			return &channels[i];
	}
	if (channels == NULL)
	{
		channels_size = 16;
		channels = MemoryContextAlloc(TopTransactionContext,
									  sizeof(PendingChannel) * channels_size);
	}
	else if (nchannels == channels_size)
	{
		channels =
			repalloc(channels, sizeof(PendingChannel) * channels_size * 2);
		channels_size *= 2;
	}
	memset(&channels[nchannels], 0, sizeof(PendingChannel));
	channels[nchannels].channel = entry;
	return &channels[nchannels++];
}

/* Returns -1 if the counter is not kept per channel. */
static int
outcome_of(StatsCounter counter)
{
	switch (counter)
	{
		case STATS_EVENTS_INGESTED:
			return STATS_INGESTED;
		case STATS_EVENTS_DUPLICATE:
			return STATS_DUPLICATE;
		case STATS_MESSAGES_SENT:
			return STATS_SENT;
		case STATS_WORKER_PROCESSED:
			return STATS_PROCESSED;
		case STATS_WORKER_ERROR:
			return STATS_ERROR;
		case STATS_WORKER_DEAD_LETTER:
			return STATS_DEAD_LETTER;
		default:
			return -1;
	}
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (has_moves())
			{
				is_publishing = true;
				stats_begin_publishing();
			}
			return;
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			return;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			publish();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			break;
	}
	if (is_publishing)
		stats_end_publishing();
	is_publishing = false;
	/* Their memory is freed with the transaction. */
	levels = NULL;
	nlevels = 0;
	channels = NULL;
	nchannels = 0;
	nlatencies = 0;
}

static bool
has_moves(void)
{
	int i;
	int gauge;

	for (i = 0; i < nchannels; i++)
	{
		for (gauge = 0; gauge < STATS_GAUGES; gauge++)
		{
			if (channels[i].moves[gauge] != 0)
				return true;
		}
	}
	return false;
}

static void
publish(void)
{
	StatsDatabase *database;
	TimestampTz now;
	int i;
	int k;

	if (nlevels == 0)
		return;
	database = stats_own_database(NULL);
	for (i = 0; i < nlevels; i++)
	{
		for (k = 0; k < STATS_COUNTERS; k++)
		{
			if (levels[i].counters[k] != 0)
				pg_atomic_fetch_add_u64(&database->counters[k],
										levels[i].counters[k]);
		}
		for (k = 0; k < STATS_GAUGES; k++)
			pg_atomic_fetch_add_u64(&database->gauges[k].moved,
									levels[i].moves[k]);
	}
	for (i = 0; i < nchannels; i++)
		publish_channel(&channels[i]);
	if (is_publishing)
		pg_atomic_fetch_add_u64(&database->publications, 1);
	if (nlatencies == 0)
		return;
	now = GetCurrentTimestamp();
	for (i = 0; i < nlatencies; i++)
		stats_add_latency(database, now - latencies[i]);
}

static void
publish_channel(const PendingChannel *pending)
{
	StatsChannel *channel = pending->channel;
	int k;

	for (k = 0; k < STATS_OUTCOMES; k++)
	{
		if (pending->outcomes[k] != 0)
			pg_atomic_fetch_add_u64(&channel->outcomes[k],
									pending->outcomes[k]);
	}
	for (k = 0; k < STATS_GAUGES; k++)
	{
		if (pending->moves[k] != 0)
			pg_atomic_fetch_add_u64(&channel->gauges[k].moved,
									pending->moves[k]);
	}
}

static void
at_subtransaction_end(SubXactEvent event,
					  SubTransactionId own,
					  SubTransactionId parent,
					  void *arg)
{
	PendingLevel *last = nlevels > 0 ? &levels[nlevels - 1] : NULL;

	(void) own;
	(void) parent;
	(void) arg;
	if (last == NULL || last->nest_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_level();
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		nchannels = last->first_channel;
		nlatencies = last->first_latency;
		nlevels--;
	}
}

/* Adds the deepest level to its parent, or turns it into the parent. */
static void
merge_level(void)
{
	PendingLevel *last = &levels[nlevels - 1];
	PendingLevel *parent = nlevels > 1 ? &levels[nlevels - 2] : NULL;
	int i;

	if (parent == NULL || parent->nest_level < last->nest_level - 1)
	{
		last->nest_level--;
		return;
	}
	for (i = 0; i < STATS_COUNTERS; i++)
		parent->counters[i] += last->counters[i];
	for (i = 0; i < STATS_GAUGES; i++)
		parent->moves[i] += last->moves[i];
	merge_channels(parent->first_channel, last->first_channel);
	nlevels--;
}

/* Adds the channels from position from on to those from first to from. */
static void
merge_channels(int first, int from)
{
	int end = nchannels;
	int i;
	int k;

	nchannels = from;
	for (i = from; i < end; i++)
	{
		PendingChannel *into = NULL;

		for (k = first; k < from && into == NULL; k++)
		{
			if (channels[k].channel == channels[i].channel)
				into = &channels[k];
		}
		if (into == NULL)
		{
			channels[nchannels++] = channels[i];
			continue;
		}
		for (k = 0; k < STATS_OUTCOMES; k++)
			into->outcomes[k] += channels[i].outcomes[k];
		for (k = 0; k < STATS_GAUGES; k++)
			into->moves[k] += channels[i].moves[k];
	}
}

/*
 * wake/outbox.c: tells senders that there is something to send.
 *
 * Commits of transactions that NOTIFY are serialized across all databases. So a
 * transaction that calls send() does not NOTIFY: its commit increments a
 * counter and wakes a worker, which notifies once for all commits since its
 * last turn. The worker also notifies when retries become due and leases end.
 *
 * Databases share the counters by a hash, and each worker remembers the values
 * it has seen. A superfluous notification costs a sender one look at its
 * outbox.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "server/statement.h"
#include "wake/lanes.h"
#include "wake/outbox.h"
#include "wake/shared.h"

#define COUNTERS 256

/* Commits that changed an outbox. */
typedef struct OutboxCounters
{
	pg_atomic_uint64 sends; /* there is more to claim */
	pg_atomic_uint64 times; /* something will be due */
} OutboxCounters;

/* What a worker knows about the outbox of its database. */
typedef struct OutboxView
{
	uint64 sends;
	uint64 times;
	TimestampTz next; /* when to look again; DT_NOEND: nothing is due */
} OutboxView;

/* NULL without preloading. */
static OutboxCounters *counters = NULL;

/* What the current transaction will count at commit. */
static bool has_sends = false;
static bool has_times = false;

/* The worker's view, and the view it will have after its commit. */
static OutboxView known = {.next = DT_NOBEGIN};
static OutboxView learned;
static bool has_learned = false;

/*
 * A stale lease that was not reaped is locked: check again after a second. The
 * second column: is a message due that became so before anybody looked?
 */
static Statement next_due = {
	.sql = "SELECT least((SELECT next_attempt_at FROM msgstore.outbox"
		   "  WHERE next_attempt_at > $1 ORDER BY next_attempt_at LIMIT 1),"
		   " (SELECT next_attempt_at FROM msgstore.notifications"
		   "  WHERE next_attempt_at > $1 AND next_attempt_at < 'infinity'"
		   "   AND dead_at IS NULL ORDER BY next_attempt_at LIMIT 1),"
		   " (SELECT next_fetch_at FROM msgstore.attachments"
		   "  WHERE next_fetch_at > $1 ORDER BY next_fetch_at LIMIT 1),"
		   " (SELECT $1 + interval '1 s' FROM msgstore.outbox"
		   "  WHERE sender_id IS NOT NULL AND next_attempt_at <= $1 LIMIT 1)),"
		   " EXISTS (SELECT FROM msgstore.outbox"
		   "  WHERE sender_id IS NULL AND next_attempt_at <= $1)"
		   " OR EXISTS (SELECT FROM msgstore.notifications"
		   "  WHERE next_attempt_at <= $1 AND dead_at IS NULL)"
		   " OR EXISTS (SELECT FROM msgstore.attachments"
		   "  WHERE next_fetch_at <= $1)",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}};

static Statement reap_leases = {.sql = "SELECT msgstore.reap_outbound()",
								.nargs = 0};

static OutboxCounters *own_counters(void);
static TimestampTz find_next(TimestampTz after, bool *is_due);
static void at_transaction_end(XactEvent event, void *arg);
static void wake(void);

void
wake_outbox_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

void
wake_outbox_shmem_request(void)
{
	RequestAddinShmemSpace(sizeof(OutboxCounters) * COUNTERS);
}

void
wake_outbox_shmem_startup(void)
{
	bool found;
	int i;

	counters = ShmemInitStruct("msgstore outbox",
							   sizeof(OutboxCounters) * COUNTERS,
							   &found);
	for (i = 0; i < COUNTERS && !found; i++)
	{
		pg_atomic_init_u64(&counters[i].sends, 0);
		pg_atomic_init_u64(&counters[i].times, 0);
	}
}

void
wake_outbox_at_commit(void)
{
	has_sends = true;
}

void
wake_watch_outbox_at_commit(void)
{
	has_times = true;
}

/*
 * The counters are read first: later commits wake the worker again. A worker
 * that has just started always notifies, because the one before may not have.
 */
TimestampTz
wake_notify_senders(TimestampTz due)
{
	OutboxCounters *own = own_counters();
	OutboxView now = {.sends = pg_atomic_read_u64(&own->sends),
					  .times = pg_atomic_read_u64(&own->times),
					  .next = known.next};
	bool is_due = known.next <= due;

	if (is_due)
		statement_execute(&reap_leases, NULL, NULL);
	if (is_due || now.times != known.times)
		now.next = find_next(due, &is_due);
	if (is_due || now.sends != known.sends)
		Async_Notify("msgstore_outbox", "");
	learned = now;
	has_learned = true;
	return now.next;
}

static OutboxCounters *
own_counters(void)
{
	return &counters[murmurhash32(MyDatabaseId) % COUNTERS];
}

/* Sets is_due if a message is due already. */
static TimestampTz
find_next(TimestampTz after, bool *is_due)
{
	Datum values[1];
	Datum next;
	bool isnull;

	values[0] = TimestampTzGetDatum(after);
	statement_execute(&next_due, values, NULL);
	*is_due = *is_due || DatumGetBool(statement_value(0, 2, &isnull));
	next = statement_value(0, 1, &isnull);
	return isnull ? DT_NOEND : DatumGetTimestampTz(next);
}

/* A rollback discards what was learned: its NOTIFY was not sent. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	bool sends = has_sends;
	bool times = has_times;

	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && has_learned)
		known = learned;
	has_sends = false;
	has_times = false;
	has_learned = false;
	if (event != XACT_EVENT_COMMIT || counters == NULL)
		return;
	if (sends)
		(void) pg_atomic_fetch_add_u64(&own_counters()->sends, 1);
	if (times)
		(void) pg_atomic_fetch_add_u64(&own_counters()->times, 1);
	if (sends || times)
		wake();
}

/*
 * Wakes the worker with no news about events. A worker whose own transaction
 * sent something, by a handler, sets its own latch.
 */
static void
wake(void)
{
	WorkerNews nothing;

	wake_clear_news(&nothing);
	wake_workers(MyDatabaseId, WAKE_OUTBOX_LANES, &nothing);
	SetLatch(MyLatch);
}

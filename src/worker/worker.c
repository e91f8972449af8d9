/*
 * worker/worker.c: the background worker that processes the queue of a
 * database.
 *
 * The worker sleeps until a commit sets its latch or the next retry is due;
 * meanwhile it holds no locks and runs no queries. In each turn it looks up the
 * extension, and exits if that is gone. Errors that no event can cause end the
 * process; the launcher starts a new one after a pause.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#endif

#include "conversations/merge.h"
#include "maintenance/maintenance.h"
#include "responses/responses.h"
#include "search/search.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "stats/stats.h"
#include "stats/worker.h"
#include "streams/upkeep.h"
#include "streams/watch.h"
#include "tenancy/placement.h"
#include "wake/changes.h"
#include "wake/lanes.h"
#include "wake/outbox.h"
#include "wake/shared.h"
#include "wake/wake.h"
#include "worker/apply.h"
#include "worker/aside.h"
#include "worker/claims.h"
#include "worker/launcher.h"
#include "worker/postmortem.h"
#include "worker/projections.h"
#include "worker/recorder.h"
#include "worker/search.h"
#include "worker/worker.h"

extern PGDLLEXPORT void msgstore_worker_main(Datum ticket);

/*
 * While a worker settles the events that a dead worker has left, one turn in so
 * many is for other events.
 */
#define TURNS_PER_BATCH 16

/* Pause before it tries again those whose lanes are locked: milliseconds. */
#define LOCKED_RECORD_PAUSE 1000

static WorkerSlot *own_slot;

/*
 * Set in the worker that owns the first lane. It alone looks after the outbox
 * and runs the periodic tasks of the database.
 */
static bool runs_tasks = false;

typedef struct Task
{
	/* Runs in a transaction. Returns ms until the next run, or -1 for never. */
	long (*run)(void);
	TimestampTz next;
} Task;

/* Microseconds spent on events, and on merging what they have changed, since
 * the last turn of the search. */
static int64 busy_us = 0;

static long search_task(void);

static Task tasks[] = {{merge_turn, DT_NOBEGIN},
					   {search_task, DT_NOBEGIN},
					   {maintenance_purge_turn, DT_NOBEGIN},
					   {responses_housekeeping_turn, DT_NOBEGIN},
					   {streams_retention_turn, DT_NOBEGIN},
					   {streams_seal_turn, DT_NOBEGIN},
					   {projections_turn, DT_NOBEGIN}};

/* Set when a setting or a table that the tasks depend on may have changed. */
static bool tasks_changed = false;

/* Whether operators have paused the workers, as they do for the tasks. */
static bool paused = false;

/* Set when that may have changed, also in workers that run no tasks. */
static bool pause_changed = true;

static Statement read_pause = {
	.sql = "SELECT EXISTS (SELECT FROM msgstore.worker_pause)"};

static void attach(uint64 ticket);
static void detach(int code, Datum arg);
static void settle(void);
static void leave(WorkerOutcome outcome);
static bool is_wanted(void);
static long run_turn(bool *more);
static void begin_turn(void);
static void end_turn(void);
static TimestampTz run_tasks(TimestampTz now, bool events_wait);
static TimestampTz due_time(const Task *task);
static void run_task(Task *task);
static bool work(TimestampTz due, TimestampTz *next, bool *share_changed);
static bool settle_death(TimestampTz due);
static bool is_paused(void);
static uint64 take_news(WorkerNews *news);
static void announce_start(void);
static Oid hold_extension(void);
static Oid find_extension(Oid *owner);
static void wait_for_work(long timeout);
static bool fall_asleep(void);

PG_FUNCTION_INFO_V1(msgstore_process);
PG_FUNCTION_INFO_V1(msgstore_announce);

void
worker_init(void)
{
	aside_init();
	launcher_register();
}

/*
 * Processes what was due when the call began: an event that fails is not tried
 * again in the same call.
 */
Datum
msgstore_process(PG_FUNCTION_ARGS)
{
	TimestampTz due = GetCurrentTimestamp();
	int64 most = PG_ARGISNULL(0) ? PG_INT64_MAX : PG_GETARG_INT32(0);
	WorkerSearch *search;
	int64 total = 0;
	int claimed;
	int left;
	int size;

	PreventCommandIfReadOnly("process()");
	placement_check_scope();
	if (most < 1)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("max_events " INT64_FORMAT " is not positive", most)));
	worker_refuse_in_handler("process");
	stats_note_outside();
	/* Workers skip the lanes held here; wake them when these are released. */
	wake_at_commit();
	search = worker_search_all(false);
	do
	{
		/* The batch lives in the memory of the SPI connection. */
		SPI_connect();
		size = Min(msgstore_batch_size, most);
		claimed = worker_run_batch(size, due, search, &left);
		SPI_finish();
		most -= claimed;
		total += left;
	} while (most > 0 && worker_has_more(claimed, size));
	SPI_connect();
	merge_without_worker();
	SPI_finish();
	PG_RETURN_INT32((int32) Min(total, PG_INT32_MAX));
}

Datum
msgstore_announce(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_at_commit();
	PG_RETURN_VOID();
}

void
msgstore_worker_main(Datum ticket)
{
	attach(DatumGetUInt64(ticket));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(own_slot->database,
											  InvalidOid,
											  0);
	settle();
	recorder_attach();
	stats_worker_attach(own_slot->index);
	for (;;)
	{
		bool more;
		long timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			tasks_changed = true;
		}
		if (!is_wanted())
			leave(WORKER_STOPPED);
		timeout = run_turn(&more);
		if (!more)
			wait_for_work(timeout);
	}
}

/*
 * Takes the slot whose number and generation are in the ticket. Exits if the
 * launcher has given it to another process since.
 */
static void
attach(uint64 ticket)
{
	WorkerSlot *slot = &wake_shared->slots[(uint32) ticket];

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	if (slot->generation == (uint32) (ticket >> 32) &&
		OidIsValid(slot->database) && slot->latch == NULL)
	{
		own_slot = slot;
		own_slot->latch = MyLatch;
	}
	LWLockRelease(wake_shared->lock);
	if (own_slot == NULL)
		proc_exit(0);
	on_shmem_exit(detach, (Datum) 0);
}

/*
 * Wakes the other workers: they take over the lanes of this one, and the events
 * that it had claimed.
 */
static void
detach(int code, Datum arg)
{
	Oid database = own_slot->database;

	(void) code;
	(void) arg;
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	own_slot->latch = NULL;
	own_slot->ready = false;
	own_slot->asleep = false;
	own_slot->settles = false;
	if (recorder_left_record())
		own_slot->outcome = WORKER_KILLED;
	if (wake_shared->launcher != NULL)
		SetLatch(wake_shared->launcher);
	LWLockRelease(wake_shared->lock);
	ConditionVariableBroadcast(&wake_shared->ended);
	if (own_slot->outcome != WORKER_ABSENT)
		wake_all_workers(database);
}

/* Overrides settings made for the database that would stop a worker. */
static void
settle(void)
{
	static const char *const settings[][2] = {
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"msgstore.tenant_id", ""},
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"}};
	Size i;

	for (i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0],
						settings[i][1],
						PGC_SUSET,
						PGC_S_OVERRIDE);
	pgstat_report_appname(psprintf("msgstore worker %d", own_slot->index + 1));
}

static void
leave(WorkerOutcome outcome)
{
	own_slot->outcome = outcome;
	if (own_slot->ready)
		ereport(LOG,
				(errmsg("msgstore worker %d stopped", own_slot->index + 1)));
	proc_exit(0);
}

static bool
is_wanted(void)
{
	return own_slot->index < msgstore_workers && !own_slot->stop;
}

/*
 * Processes one batch in a transaction. Returns the milliseconds until there is
 * something to do again, or -1 if nothing is scheduled.
 */
static long
run_turn(bool *more)
{
	TimestampTz due = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	bool share_changed;

	stats_worker_state(STATS_WORKER_CLAIMING);
	PG_TRY();
	{
		begin_turn();
		*more = work(due, &next, &share_changed);
		end_turn();
	}
	PG_CATCH();
	{
		/* The worker does not die of the events, but of an error. */
		recorder_clear();
		PG_RE_THROW();
	}
	PG_END_TRY();
	busy_us += GetCurrentTimestamp() - due;
	/* The new owners of lanes found them locked until this commit. */
	if (share_changed)
		wake_all_workers(MyDatabaseId);
	if (runs_tasks)
		next = Min(next, run_tasks(due, *more));
	stats_worker_state(paused ? STATS_WORKER_PAUSED : STATS_WORKER_IDLE);
	if (next == DT_NOEND)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next) + 1;
}

/* Triggers run with the rights of the extension's owner, not a superuser's. */
static void
begin_turn(void)
{
	Oid owner;
	Oid user;
	int context;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	owner = hold_extension();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!own_slot->ready)
		announce_start();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
}

/* Also releases session-level advisory locks that a handler has taken. */
static void
end_turn(void)
{
	SPI_finish();
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	PopActiveSnapshot();
	CommitTransactionCommand();
	recorder_clear();
	LockReleaseSession(USER_LOCKMETHOD);
	(void) pgstat_report_stat(true);
}

/* Runs the tasks that are due. Returns when the next one is. */
static TimestampTz
run_tasks(TimestampTz now, bool events_wait)
{
	TimestampTz next = DT_NOEND;
	Size i;

	for (i = 0; i < lengthof(tasks); i++)
	{
		Task *task = &tasks[i];

		if (tasks_changed || due_time(task) <= now)
		{
			run_task(task);
			/* A merge tells what is to be indexed. While events wait, it does
			 * not end a pause of the search. */
			if (task->run == merge_turn &&
				(!events_wait || task[1].next == DT_NOEND))
				task[1].next = Min(task[1].next, now);
		}
		next = Min(next, due_time(task));
	}
	tasks_changed = false;
	return next;
}

static long
search_task(void)
{
	int64 spent = busy_us;

	busy_us = 0;
	return search_turn(spent);
}

static TimestampTz
due_time(const Task *task)
{
	if (task->run == merge_turn)
		return Min(task->next, wake_changes_due());
	if (task->run == projections_turn && streams_has_watched())
		return DT_NOBEGIN;
	return task->next;
}

static void
run_task(Task *task)
{
	TimestampTz start = GetCurrentTimestamp();
	long pause;

	stats_worker_state(task->run == projections_turn ? STATS_WORKER_PROJECTING
													 : STATS_WORKER_PURGING);
	begin_turn();
	pause = task->run();
	end_turn();
	if (task->run == merge_turn)
		busy_us += GetCurrentTimestamp() - start;
	task->next =
		pause < 0 ? DT_NOEND
				  : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause);
}

/*
 * Returns true if there may be more to do now. Otherwise sets next to the time
 * at which there will be, DT_NOEND if unknown.
 */
static bool
work(TimestampTz due, TimestampTz *next, bool *share_changed)
{
	static uint64 last_share = 0;
	static TimestampTz next_expiry = DT_NOBEGIN;
	TimestampTz next_sending = DT_NOEND;
	WorkerNews news;
	WorkerSearch *search;
	uint64 share = take_news(&news);
	uint64 closed;
	int claimed;
	int left;

	if (news.earliest == DT_NOBEGIN)
		tasks_changed = pause_changed = true;
	*share_changed = share != last_share;
	last_share = share;
	next_expiry = *share_changed ? DT_NOBEGIN : Min(next_expiry, news.expiry);
	if (next_expiry <= due)
		next_expiry = worker_reap_claims(due, share);
	runs_tasks = (share & WAKE_OUTBOX_LANES) != 0;
	if (runs_tasks)
		next_sending = wake_notify_senders(due);
	paused = is_paused();
	if (paused)
	{
		/* The commit that ends the pause makes all workers search again. */
		*next = Min(next_expiry, next_sending);
		return false;
	}
	closed = postmortem_lanes(own_slot);
	search = worker_begin_search(own_slot, share & ~closed, &news);
	if (closed != 0 && settle_death(due))
	{
		search->incomplete = true;
		return true;
	}
	claimed = worker_run_batch(msgstore_batch_size, due, search, &left);
	worker_end_search();
	if (worker_has_more(claimed, msgstore_batch_size) || recorder_has_news())
		return true;
	*next = Min(worker_next_retry(due, share), next_expiry);
	*next = Min(*next, next_sending);
	if (closed != 0)
		*next =
			Min(*next, TimestampTzPlusMilliseconds(due, LOCKED_RECORD_PAUSE));
	return false;
}

/*
 * Settles an event that a dead worker has left. Returns false if the turn is
 * for a batch from other lanes.
 */
static bool
settle_death(TimestampTz due)
{
	static int turn = 0;

	return ++turn % TURNS_PER_BATCH != 0 && postmortem_step(own_slot, due);
}

/* The table is read when a commit has changed more than a single event. */
static bool
is_paused(void)
{
	bool isnull;

	if (!pause_changed)
		return paused;
	statement_execute(&read_pause, NULL, NULL);
	pause_changed = false;
	return DatumGetBool(statement_value(0, 1, &isnull));
}

/* Returns this worker's current share of the lanes. */
static uint64
take_news(WorkerNews *news)
{
	uint64 share;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	share = wake_share(own_slot);
	*news = own_slot->news;
	wake_clear_news(&own_slot->news);
	own_slot->roused = false;
	LWLockRelease(wake_shared->lock);
	return share;
}

static void
announce_start(void)
{
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	own_slot->ready = true;
	if (wake_shared->launcher != NULL)
		SetLatch(wake_shared->launcher);
	LWLockRelease(wake_shared->lock);
	/* This worker takes over lanes of the others. */
	wake_all_workers(MyDatabaseId);
	ereport(LOG,
			(errmsg("msgstore worker %d of database \"%s\" started",
					own_slot->index + 1,
					get_database_name(MyDatabaseId))));
}

/*
 * Locks the extension against changes until the end of the transaction, and
 * returns its owner. It waits for a DROP or ALTER EXTENSION in progress here,
 * where the worker holds nothing that the command needs, not even a snapshot.
 * If the extension was dropped and created again, the worker exits, and a new
 * one starts without cached plans and object ids.
 */
static Oid
hold_extension(void)
{
	static Oid own_extension = InvalidOid;
	Oid owner;
	Oid found = find_extension(&owner);
	Oid held = found;

	if (OidIsValid(found))
	{
		LockDatabaseObject(ExtensionRelationId, found, 0, AccessShareLock);
		held = find_extension(&owner);
	}
	if (!OidIsValid(held))
		leave(WORKER_ABSENT);
	if (!OidIsValid(own_extension))
		own_extension = found;
	if (held != own_extension)
		leave(WORKER_STOPPED);
	return owner;
}

static Oid
find_extension(Oid *owner)
{
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	Oid extension = InvalidOid;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	ScanKeyInit(&key,
				Anum_pg_extension_extname,
				BTEqualStrategyNumber,
				F_NAMEEQ,
				CStringGetDatum("msgstore"));
	scan = systable_beginscan(extensions,
							  ExtensionNameIndexId,
							  true,
							  NULL,
							  1,
							  &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		extension = ((Form_pg_extension) GETSTRUCT(tuple))->oid;
		*owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	}
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);
	return extension;
}

/* Waits for the latch, at most timeout milliseconds; -1 means no limit. */
static void
wait_for_work(long timeout)
{
	int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (timeout >= 0)
		events |= WL_TIMEOUT;
	if (fall_asleep())
		(void) WaitLatch(MyLatch, events, timeout, stats_wait_event_worker());
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	own_slot->asleep = false;
	LWLockRelease(wake_shared->lock);
}

/*
 * Returns false if the worker was woken since the turn began. The latch alone
 * does not tell: code that ran in the turn, such as a handler that sleeps or a
 * wait for a lock, waits on the same latch and resets it.
 */
static bool
fall_asleep(void)
{
	bool called;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	called = own_slot->roused || own_slot->stop;
	own_slot->asleep = !called;
	LWLockRelease(wake_shared->lock);
	return !called && !ConfigReloadPending;
}

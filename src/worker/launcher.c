/*
 * worker/launcher.c: keeps workers running in every database that has the
 * extension.
 *
 * The launcher is not connected to a database. To find out whether a database
 * has the extension it starts a worker there, which exits at once if not. It
 * probes all databases, one after the other, when the server starts or
 * msgstore.workers changes, and a single database when a session requests it:
 * at the commit of CREATE EXTENSION, or of events for which there is no worker.
 * A worker that failed is restarted after a pause, which grows while it keeps
 * failing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#if PG_VERSION_NUM >= 170000
#include "utils/wait_event.h"
#endif

#include "server/release.h"
#include "server/settings.h"
#include "wake/shared.h"
#include "worker/launcher.h"
#include "worker/recorder.h"

#define FIRST_PAUSE 1000 /* milliseconds */
#define LONGEST_PAUSE 10000

/* After a worker was killed by an event: its attempt makes the event wait. */
#define PAUSE_WHEN_KILLED 100

/* A worker that ran for this long had recovered: milliseconds. */
#define STEADY_AFTER 60000

/* Pause before registering a background worker is tried again: ms. */
#define RETRY_REGISTER 10000

/* A database that has the extension or has not been probed. */
typedef struct Database
{
	Oid oid;
	bool present;			/* a worker found the extension */
	TimestampTz asked_at;	/* time of the last request to check it */
	int failures;			/* consecutive failures of its workers */
	TimestampTz next_start; /* start no worker before */
} Database;

/* A worker this launcher started. */
typedef struct Worker
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	TimestampTz started_at;
} Worker;

extern PGDLLEXPORT void msgstore_launcher_main(Datum unused);

static List *databases = NIL; /* of Database */
static Worker *workers;		  /* one for each slot */
static int known_workers = 0; /* msgstore.workers when last looked at */
static bool warned = false;	  /* of too few background workers */
static TimestampTz not_before = DT_NOBEGIN; /* start no worker before */

static void forget_launcher(int code, Datum arg);
static void pause_after_crashes(void);
static void reload_configuration(void);
static void collect_ended(void);
static void judge(int slot_number);
static void take_requests(void);
static void add_database(Oid oid);
static void drop_database(Database *database);
static Database *find_database(Oid oid);
static void look_at_all(void);
static bool is_candidate(Oid oid);
static long start_missing(void);
static long start_in(Database *database, bool *probing);
static bool start_worker(Database *database, int index);
static bool take_slot(Oid database, int index, int *slot_number);
static void free_slot(int slot_number);

void
launcher_register(void)
{
	BackgroundWorker launcher = {
		.bgw_name = "msgstore launcher",
		.bgw_type = "msgstore launcher",
		.bgw_flags =
			BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = 5,
		.bgw_library_name = "msgstore",
		.bgw_function_name = "msgstore_launcher_main"};

	if (!IsBinaryUpgrade)
		RegisterBackgroundWorker(&launcher);
}

void
msgstore_launcher_main(Datum unused)
{
	(void) unused;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	workers = MemoryContextAllocZero(TopMemoryContext,
									 sizeof(Worker) * wake_shared->nslots);
	on_shmem_exit(forget_launcher, (Datum) 0);
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	wake_shared->launcher = MyLatch;
	LWLockRelease(wake_shared->lock);
	ereport(LOG,
			(errmsg("msgstore launcher of release %s started", release_name)));
	pause_after_crashes();
	for (;;)
	{
		int events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;
		long timeout;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		reload_configuration();
		collect_ended();
		take_requests();
		timeout = start_missing();
		if (timeout >= 0)
			events |= WL_TIMEOUT;
		(void) WaitLatch(MyLatch, events, timeout, PG_WAIT_EXTENSION);
	}
}

/*
 * Workers keep running without a launcher. The next launcher finds their slots
 * taken and starts no others beside them.
 */
static void
forget_launcher(int code, Datum arg)
{
	(void) code;
	(void) arg;
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	wake_shared->launcher = NULL;
	LWLockRelease(wake_shared->lock);
}

/*
 * If the server keeps crashing, the workers may be the cause, and the launcher
 * does not remember its pauses. Where records tell which event was the cause, a
 * pause is not needed, and would only delay the other events.
 */
static void
pause_after_crashes(void)
{
	int pause = FIRST_PAUSE << Min(Max(wake_shared->crashes - 2, 0), 4);

	if (wake_shared->crashes < 2 || recorder_any())
		return;
	not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											 Min(pause, LONGEST_PAUSE));
}

/* If msgstore.workers changed, checks all databases and wakes all workers. */
static void
reload_configuration(void)
{
	int i;

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (known_workers == msgstore_workers)
		return;
	known_workers = msgstore_workers;
	look_at_all();
	LWLockAcquire(wake_shared->lock, LW_SHARED);
	for (i = 0; i < wake_shared->nslots; i++)
	{
		if (wake_shared->slots[i].latch != NULL)
			SetLatch(wake_shared->slots[i].latch);
	}
	LWLockRelease(wake_shared->lock);
}

static void
collect_ended(void)
{
	int i;

	for (i = 0; i < wake_shared->nslots; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];
		pid_t pid;

		if (workers[i].handle != NULL)
		{
			if (GetBackgroundWorkerPid(workers[i].handle, &pid) != BGWH_STOPPED)
				continue;
			judge(i);
			pfree(workers[i].handle);
			workers[i].handle = NULL;
			free_slot(i);
		}
		else if (OidIsValid(slot->database) && slot->latch == NULL)
			free_slot(i); /* started by a launcher before this one */
	}
}

static void
judge(int slot_number)
{
	WorkerSlot *slot = &wake_shared->slots[slot_number];
	Database *database = find_database(slot->database);
	TimestampTz now = GetCurrentTimestamp();
	int pause;

	if (database == NULL)
		return;
	switch (slot->outcome)
	{
		case WORKER_ABSENT:
			/* Keep it if CREATE EXTENSION may have committed since. */
			database->present = false;
			if (database->asked_at <= workers[slot_number].started_at)
				drop_database(database);
			break;
		case WORKER_STOPPED:
			break;
		case WORKER_KILLED:
			database->next_start =
				TimestampTzPlusMilliseconds(now, PAUSE_WHEN_KILLED);
			break;
		case WORKER_FAILED:
			if (TimestampDifferenceExceeds(workers[slot_number].started_at,
										   now,
										   STEADY_AFTER))
				database->failures = 0;
			pause = FIRST_PAUSE << Min(database->failures, 4);
			database->failures++;
			database->next_start =
				TimestampTzPlusMilliseconds(now, Min(pause, LONGEST_PAUSE));
			break;
	}
}

static void
take_requests(void)
{
	Oid requests[WORKER_MAX_REQUESTS];
	bool all;
	int n;
	int i;

	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	n = wake_shared->nrequests;
	memcpy(requests, wake_shared->requests, sizeof(Oid) * n);
	all = wake_shared->look_at_all;
	wake_shared->nrequests = 0;
	wake_shared->look_at_all = false;
	LWLockRelease(wake_shared->lock);
	for (i = 0; i < n; i++)
		add_database(requests[i]);
	if (all)
		look_at_all();
}

static void
add_database(Oid oid)
{
	Database *database = find_database(oid);
	MemoryContext caller;

	if (database == NULL)
	{
		caller = MemoryContextSwitchTo(TopMemoryContext);
		database = palloc0(sizeof(Database));
		database->oid = oid;
		database->next_start = not_before;
		databases = lappend(databases, database);
		MemoryContextSwitchTo(caller);
	}
	database->asked_at = GetCurrentTimestamp();
}

/* For one that is gone, or in which no worker finds the extension. */
static void
drop_database(Database *database)
{
	recorder_forget(database->oid);
	databases = list_delete_ptr(databases, database);
	pfree(database);
}

static Database *
find_database(Oid oid)
{
	ListCell *cell;

	foreach (cell, databases)
	{
		Database *database = lfirst(cell);

		if (database->oid == oid)
			return database;
	}
	return NULL;
}

static void
look_at_all(void)
{
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		add_database(((Form_pg_database) GETSTRUCT(tuple))->oid);
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
}

/*
 * A worker in a template database would prevent copying it. This scans the
 * table and not the cache, because the request that follows a DROP DATABASE may
 * arrive before the invalidation; and it scans without the index, which a
 * process without a database cannot open.
 */
static bool
is_candidate(Oid oid)
{
	Relation relation;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;
	bool candidate = false;

	StartTransactionCommand();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	ScanKeyInit(&key,
				Anum_pg_database_oid,
				BTEqualStrategyNumber,
				F_OIDEQ,
				ObjectIdGetDatum(oid));
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		candidate = form->datallowconn && !form->datistemplate;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return candidate;
}

/* Returns milliseconds until a worker may be started, or -1 for none. */
static long
start_missing(void)
{
	List *all = list_copy(databases);
	ListCell *cell;
	bool probing = false;
	long timeout = -1;
	int i;

	for (i = 0; i < wake_shared->nslots; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];
		Database *database = find_database(slot->database);

		if (database != NULL && slot->ready)
			database->present = true;
		else if (database != NULL && !database->present)
			probing = true;
	}
	foreach (cell, all)
	{
		Database *database = lfirst(cell);
		long wait = start_in(database, &probing);

		if (wait >= 0 && (timeout < 0 || wait < timeout))
			timeout = wait;
	}
	list_free(all);
	return timeout;
}

/*
 * Probes one database at a time: there may be many, and few background workers.
 */
static long
start_in(Database *database, bool *probing)
{
	TimestampTz now = GetCurrentTimestamp();
	int wanted =
		database->present ? msgstore_workers : Min(msgstore_workers, 1);
	int index;

	if (!database->present && *probing)
		return -1;
	if (database->next_start > now)
		return TimestampDifferenceMilliseconds(now, database->next_start) + 1;
	for (index = 0; index < wanted; index++)
	{
		bool running = false;
		int i;

		for (i = 0; i < wake_shared->nslots; i++)
			running |= wake_shared->slots[i].database == database->oid &&
					   wake_shared->slots[i].index == index;
		if (running)
			continue;
		if (!is_candidate(database->oid))
		{
			drop_database(database);
			return -1;
		}
		if (!start_worker(database, index))
			return RETRY_REGISTER;
		*probing |= !database->present;
	}
	return -1;
}

static bool
start_worker(Database *database, int index)
{
	BackgroundWorker worker = {.bgw_type = "msgstore worker",
							   .bgw_flags =
								   BGWORKER_SHMEM_ACCESS |
								   BGWORKER_BACKEND_DATABASE_CONNECTION,
							   .bgw_start_time = BgWorkerStart_RecoveryFinished,
							   .bgw_restart_time = BGW_NEVER_RESTART,
							   .bgw_library_name = "msgstore",
							   .bgw_function_name = "msgstore_worker_main",
							   .bgw_notify_pid = MyProcPid};
	MemoryContext caller;
	bool started = false;
	int slot;

	/* The command that needs it alone requests a check afterwards. */
	if (!take_slot(database->oid, index, &slot))
		return true;
	caller = MemoryContextSwitchTo(TopMemoryContext);
	if (slot >= 0)
	{
		snprintf(worker.bgw_name,
				 BGW_MAXLEN,
				 "msgstore worker %d for database %u",
				 index + 1,
				 database->oid);
		worker.bgw_main_arg = UInt64GetDatum(
			(uint64) wake_shared->slots[slot].generation << 32 | (uint32) slot);
		workers[slot].started_at = GetCurrentTimestamp();
		started =
			RegisterDynamicBackgroundWorker(&worker, &workers[slot].handle);
	}
	MemoryContextSwitchTo(caller);
	if (!started && slot >= 0)
		free_slot(slot);
	if (!started && !warned)
		ereport(
			WARNING,
			(errmsg(
				 "could not start worker %d for database %u: no background worker slot is free",
				 index + 1,
				 database->oid),
			 errhint("Increase \"max_worker_processes\" (currently %d).",
					 max_worker_processes)));
	warned = !started;
	return started;
}

/*
 * Returns false if a command needs the database without connections, which is
 * checked and set under the same lock. Sets the number to -1 if no slot is
 * free.
 */
static bool
take_slot(Oid database, int index, int *slot_number)
{
	bool aside;
	int i;

	*slot_number = -1;
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	aside = wake_is_aside(database);
	for (i = 0; i < wake_shared->nslots && *slot_number < 0 && !aside; i++)
	{
		WorkerSlot *slot = &wake_shared->slots[i];

		if (OidIsValid(slot->database))
			continue;
		*slot = (WorkerSlot){.database = database,
							 .index = index,
							 .generation = slot->generation + 1,
							 .outcome = WORKER_FAILED};
		*slot_number = i;
	}
	LWLockRelease(wake_shared->lock);
	return !aside;
}

static void
free_slot(int slot_number)
{
	LWLockAcquire(wake_shared->lock, LW_EXCLUSIVE);
	wake_shared->slots[slot_number].database = InvalidOid;
	LWLockRelease(wake_shared->lock);
	ConditionVariableBroadcast(&wake_shared->ended);
}

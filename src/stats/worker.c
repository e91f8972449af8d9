/*
 * stats/worker.c: state and totals of each worker of a database.
 *
 * Entries are in shared memory, one per database and worker number. A worker
 * that is restarted continues the totals of the one before. Only the worker
 * writes its entry. A spinlock, held for a few stores, keeps readers from
 * seeing half of a change.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/wait_event.h"

#include "stats/shared.h"
#include "stats/worker.h"

/* Bytes kept of an error message, with its zero. */
#define ERROR_SIZE 512

typedef struct StatsWorker
{
	Oid database; /* guarded by stats_lock; InvalidOid: the entry is free */
	int index;	  /* likewise */

	slock_t mutex; /* guards what follows; its own worker reads without it */
	int pid;	   /* 0: no process */
	StatsWorkerState state;
	TimestampTz state_since;
	TimestampTz started_at;
	int batch;
	int64 batches;
	int64 claimed;
	int64 processed;
	int64 errors;
	int64 dead_letters;
	int64 busy_us;
	int64 idle_us;
	TimestampTz last_error_at; /* 0: none yet */
	char last_error[ERROR_SIZE];
} StatsWorker;

static const char *const state_names[] = {"stopped",
										  "starting",
										  "paused",
										  "idle",
										  "claiming",
										  "applying",
										  "retrying one by one",
										  "purging",
										  "projecting"};

static StatsWorker *workers = NULL;

/* Activity of a worker in pg_stat_activity, in the order of the states. */
static const char *const activities[] = {"stopped",
										 "starting",
										 "paused",
										 "waiting for events",
										 "claiming events",
										 "applying a batch of events",
										 "applying events one by one",
										 "purging",
										 "applying projections"};

/* This process's entry. */
static StatsWorker *own = NULL;

static int count_entries(void);
static StatsWorker *take_entry(int index);
static void detach_at_exit(int code, Datum arg);
static bool is_idle(StatsWorkerState state);
static void enter_state(StatsWorkerState state);
static void put_worker(ReturnSetInfo *result, const StatsWorker *worker);

PG_FUNCTION_INFO_V1(msgstore_stat_worker);

Datum
msgstore_stat_worker(PG_FUNCTION_ARGS)
{
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < count_entries(); i++)
	{
		StatsWorker *worker = &workers[i];
		StatsWorker copy;
		bool is_ours;

		LWLockAcquire(stats_lock, LW_SHARED);
		is_ours = worker->database == MyDatabaseId;
		if (is_ours)
		{
			SpinLockAcquire(&worker->mutex);
			copy = *worker;
			SpinLockRelease(&worker->mutex);
		}
		LWLockRelease(stats_lock);
		if (is_ours)
			put_worker((ReturnSetInfo *) fcinfo->resultinfo, &copy);
	}
	return (Datum) 0;
}

int
stats_workers_running(void)
{
	int running = 0;
	int i;

	if (workers == NULL)
		return 0;
	LWLockAcquire(stats_lock, LW_SHARED);
	for (i = 0; i < count_entries(); i++)
	{
		StatsWorker *worker = &workers[i];

		if (worker->database != MyDatabaseId)
			continue;
		SpinLockAcquire(&worker->mutex);
		running += worker->state != STATS_WORKER_STOPPED;
		SpinLockRelease(&worker->mutex);
	}
	LWLockRelease(stats_lock);
	return running;
}

Size
stats_worker_shmem_size(void)
{
	return mul_size(2 * max_worker_processes, sizeof(StatsWorker));
}

void
stats_worker_shmem_startup(void)
{
	bool found;
	int i;

	workers = ShmemInitStruct("msgstore stats of workers",
							  stats_worker_shmem_size(),
							  &found);
	if (found)
		return;
	memset(workers, 0, stats_worker_shmem_size());
	for (i = 0; i < count_entries(); i++)
		SpinLockInit(&workers[i].mutex);
}

/* Twice as many as can run, to keep the totals of workers that ended. */
static int
count_entries(void)
{
	return workers != NULL ? 2 * max_worker_processes : 0;
}

void
stats_worker_forget_database(Oid database)
{
	int i;

	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	for (i = 0; i < count_entries(); i++)
	{
		if (workers[i].database == database)
			workers[i].database = InvalidOid;
	}
	LWLockRelease(stats_lock);
}

void
stats_worker_attach(int index)
{
	static bool registered = false;

	if (workers == NULL)
		return;
	own = take_entry(index);
	if (own == NULL)
		return;
	if (!registered)
		on_shmem_exit(detach_at_exit, (Datum) 0);
	registered = true;
	SpinLockAcquire(&own->mutex);
	own->started_at = GetCurrentTimestamp();
	own->state = STATS_WORKER_STOPPED;
	own->batch = 0;
	SpinLockRelease(&own->mutex);
	enter_state(STATS_WORKER_STARTING);
}

/* Returns the worker's entry, a free one, or the one unused for longest. */
static StatsWorker *
take_entry(int index)
{
	StatsWorker *entry = NULL;
	int i;

	LWLockAcquire(stats_lock, LW_EXCLUSIVE);
	for (i = 0; i < count_entries(); i++)
	{
		StatsWorker *worker = &workers[i];

		if (worker->database == MyDatabaseId && worker->index == index)
		{
			entry = worker;
			break;
		}
		if (worker->pid != 0 && OidIsValid(worker->database))
			continue;
		if (entry == NULL || (OidIsValid(entry->database) &&
							  (!OidIsValid(worker->database) ||
							   worker->state_since < entry->state_since)))
			entry = worker;
	}
	if (entry != NULL &&
		(entry->database != MyDatabaseId || entry->index != index))
	{
		memset(entry, 0, sizeof(StatsWorker));
		SpinLockInit(&entry->mutex);
		entry->database = MyDatabaseId;
		entry->index = index;
	}
	/* With a pid, no other worker takes it. */
	if (entry != NULL)
		entry->pid = MyProcPid;
	LWLockRelease(stats_lock);
	return entry;
}

void
stats_worker_detach(void)
{
	if (own == NULL)
		return;
	enter_state(STATS_WORKER_STOPPED);
	SpinLockAcquire(&own->mutex);
	own->pid = 0;
	own->batch = 0;
	SpinLockRelease(&own->mutex);
	own = NULL;
}

static void
detach_at_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	stats_worker_detach();
}

void
stats_worker_state(StatsWorkerState state)
{
	if (own == NULL || own->state == state)
		return;
	enter_state(state);
	pgstat_report_activity(is_idle(state) ? STATE_IDLE : STATE_RUNNING,
						   activities[state]);
}

static bool
is_idle(StatsWorkerState state)
{
	return state == STATS_WORKER_IDLE || state == STATS_WORKER_PAUSED;
}

/* Adds the time since the last change to the state that ends. */
static void
enter_state(StatsWorkerState state)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 passed = Max(now - own->state_since, 0);

	SpinLockAcquire(&own->mutex);
	if (is_idle(own->state))
		own->idle_us += passed;
	else if (own->state != STATS_WORKER_STOPPED)
		own->busy_us += passed;
	own->state = state;
	own->state_since = now;
	if (is_idle(state))
		own->batch = 0;
	SpinLockRelease(&own->mutex);
}

void
stats_worker_batch(int claimed)
{
	if (own == NULL)
		return;
	SpinLockAcquire(&own->mutex);
	own->batch = claimed;
	own->batches += claimed > 0;
	own->claimed += claimed;
	SpinLockRelease(&own->mutex);
}

void
stats_worker_done(int processed, int errors, int dead)
{
	if (own == NULL)
		return;
	SpinLockAcquire(&own->mutex);
	own->processed += processed;
	own->errors += errors;
	own->dead_letters += dead;
	SpinLockRelease(&own->mutex);
}

void
stats_worker_error(const char *message)
{
	TimestampTz now = GetCurrentTimestamp();
	int length;

	if (own == NULL)
		return;
	length = pg_mbcliplen(message, strlen(message), ERROR_SIZE - 1);
	SpinLockAcquire(&own->mutex);
	memcpy(own->last_error, message, length);
	own->last_error[length] = '\0';
	own->last_error_at = now;
	SpinLockRelease(&own->mutex);
}

uint32
stats_wait_event_worker(void)
{
#if PG_VERSION_NUM >= 170000
	static uint32 event = 0;

	if (event == 0)
		event = WaitEventExtensionNew("MsgstoreWorkerIdle");
	return event;
#else
	return PG_WAIT_EXTENSION;
#endif
}

static void
put_worker(ReturnSetInfo *result, const StatsWorker *worker)
{
	bool running = worker->state != STATS_WORKER_STOPPED;
	bool idle = worker->state == STATS_WORKER_IDLE;
	bool failed = worker->last_error_at != 0;
	int64 passed =
		running ? Max(GetCurrentTimestamp() - worker->state_since, 0) : 0;
	bool nulls[14] = {false};
	Datum values[14];

	values[0] = Int32GetDatum(worker->index + 1);
	values[1] = Int32GetDatum(worker->pid);
	nulls[1] = !running;
	values[2] = CStringGetTextDatum(state_names[worker->state]);
	values[3] = Int32GetDatum(worker->batch);
	values[4] = Int64GetDatum(worker->batches);
	values[5] = Int64GetDatum(worker->claimed);
	values[6] = Int64GetDatum(worker->processed);
	values[7] = Int64GetDatum(worker->errors);
	values[8] = Int64GetDatum(worker->dead_letters);
	values[9] = CStringGetTextDatum(worker->last_error);
	nulls[9] = !failed;
	values[10] = TimestampTzGetDatum(worker->last_error_at);
	nulls[10] = !failed;
	values[11] = TimestampTzGetDatum(worker->started_at);
	values[12] = Int64GetDatum(worker->busy_us + (idle ? 0 : passed));
	values[13] = Int64GetDatum(worker->idle_us + (idle ? passed : 0));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

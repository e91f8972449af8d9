/*
 * stats/progress.c: how far long operations are.
 *
 * An operation is one transaction, so nobody else sees what it has done until
 * it ends. It reports its progress in shared memory, in one of a few entries,
 * which is freed at the end of the transaction. Reports that find no entry are
 * lost, and so are all without shared memory.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "server/settings.h"
#include "stats/shared.h"

#define ENTRIES 64
#define WORD_SIZE 256

typedef struct Progress
{
	slock_t mutex; /* guards what follows */
	int pid;	   /* 0: the entry is free */
	Oid database;
	TimestampTz started_at;
	int64 done;
	int64 total; /* -1: unknown */
	char tenant_id[WORD_SIZE];
	char operation[WORD_SIZE];
	char phase[WORD_SIZE];
} Progress;

static Progress *entries = NULL;

/* This session's entry while an operation is in progress. */
static Progress *own = NULL;

static Progress *take_entry(void);
static void copy_word(char *to, const char *from);
static void at_transaction_end(XactEvent event, void *arg);
static void put_entry(ReturnSetInfo *result, const Progress *entry);

PG_FUNCTION_INFO_V1(msgstore_report_progress);
PG_FUNCTION_INFO_V1(msgstore_progress);

/* _report_progress(operation, phase, done, total) */
Datum
msgstore_report_progress(PG_FUNCTION_ARGS)
{
	char operation[WORD_SIZE];
	char phase[WORD_SIZE];

	copy_word(operation, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	copy_word(phase, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (own == NULL)
		own = take_entry();
	if (own == NULL)
		PG_RETURN_VOID();
	SpinLockAcquire(&own->mutex);
	memcpy(own->operation, operation, WORD_SIZE);
	memcpy(own->phase, phase, WORD_SIZE);
	own->done = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	own->total = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	SpinLockRelease(&own->mutex);
	PG_RETURN_VOID();
}

/* _progress() */
Datum
msgstore_progress(PG_FUNCTION_ARGS)
{
	int i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; entries != NULL && i < ENTRIES; i++)
	{
		Progress copy;

		SpinLockAcquire(&entries[i].mutex);
		copy = entries[i];
		SpinLockRelease(&entries[i].mutex);
		if (copy.pid != 0 && copy.database == MyDatabaseId)
			put_entry((ReturnSetInfo *) fcinfo->resultinfo, &copy);
	}
	return (Datum) 0;
}

void
stats_progress_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
}

Size
stats_progress_shmem_size(void)
{
	return sizeof(Progress) * ENTRIES;
}

void
stats_progress_shmem_startup(void)
{
	bool found;
	int i;

	entries = ShmemInitStruct("msgstore progress",
							  stats_progress_shmem_size(),
							  &found);
	if (found)
		return;
	memset(entries, 0, stats_progress_shmem_size());
	for (i = 0; i < ENTRIES; i++)
		SpinLockInit(&entries[i].mutex);
}

static Progress *
take_entry(void)
{
	char tenant_id[WORD_SIZE];
	int i;

	copy_word(tenant_id, msgstore_tenant_id);
	for (i = 0; entries != NULL && i < ENTRIES; i++)
	{
		Progress *entry = &entries[i];
		bool taken;

		SpinLockAcquire(&entry->mutex);
		taken = entry->pid == 0;
		if (taken)
		{
			entry->pid = MyProcPid;
			entry->database = MyDatabaseId;
			entry->started_at = GetCurrentTransactionStartTimestamp();
			memcpy(entry->tenant_id, tenant_id, WORD_SIZE);
			entry->operation[0] = entry->phase[0] = '\0';
		}
		SpinLockRelease(&entry->mutex);
		if (taken)
			return entry;
	}
	return NULL;
}

static void
copy_word(char *to, const char *from)
{
	int length = pg_mbcliplen(from, strlen(from), WORD_SIZE - 1);

	memset(to, 0, WORD_SIZE);
	memcpy(to, from, length);
}

/* A session that exits aborts its transaction first. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (own == NULL ||
		(event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		 event != XACT_EVENT_PREPARE))
		return;
	SpinLockAcquire(&own->mutex);
	own->pid = 0;
	SpinLockRelease(&own->mutex);
	own = NULL;
}

static void
put_entry(ReturnSetInfo *result, const Progress *entry)
{
	bool nulls[7] = {false};
	Datum values[7] = {CStringGetTextDatum(entry->tenant_id),
					   CStringGetTextDatum(entry->operation),
					   CStringGetTextDatum(entry->phase),
					   Int64GetDatum(entry->done),
					   Int64GetDatum(entry->total),
					   TimestampTzGetDatum(entry->started_at),
					   Int32GetDatum(entry->pid)};

	nulls[4] = entry->total < 0;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

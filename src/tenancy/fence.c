/*
 * tenancy/fence.c: waits for the calls that began before a fence.
 *
 * As CREATE INDEX CONCURRENTLY does, it waits for the transactions that are
 * open, and makes nobody wait. Calls in later transactions see the fence:
 * placement.c explains why.
 *
 * A transaction that is prepared keeps its rows invisible until it is
 * committed, so prepared ones are waited for, too. Two sessions that wait at
 * the same time would wait for each other: each marks itself by an advisory
 * lock before it looks, and skips those that are marked. That is safe because
 * they have written nothing, which the caller checks.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "server/locks.h"
#include "server/statement.h"

static Statement prepared_transactions = {
	.sql = "SELECT p.transaction FROM pg_catalog.pg_prepared_xacts p"
		   " WHERE p.database = pg_catalog.current_database()",
	.read_only = true};

static void wait_for_invalidations(TimestampTz until);
static bool is_marked(const LOCKTAG *mark, VirtualTransactionId transaction);
static TransactionId *list_prepared(int *n);
static void limit_wait(TimestampTz until);

PG_FUNCTION_INFO_V1(msgstore_wait_for_writers);

/* _wait_for_writers(until): exceeding the time is an error of lock_timeout. */
Datum
msgstore_wait_for_writers(PG_FUNCTION_ARGS)
{
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(0);
	int nest_level = NewGUCNestLevel();
	VirtualTransactionId *open;
	TransactionId *prepared;
	LOCKTAG mark = locks_tag(LOCK_FENCE, 0);
	int nopen;
	int nprepared;
	int i;

	(void) LockAcquire(&mark, ShareLock, false, false);
	wait_for_invalidations(until);
	open = GetCurrentVirtualXIDs(InvalidTransactionId,
								 false,
								 false,
								 PROC_IS_AUTOVACUUM | PROC_IN_VACUUM,
								 &nopen);
	prepared = list_prepared(&nprepared);
	for (i = 0; i < nopen; i++)
	{
		limit_wait(until);
		/* It follows a transaction that is prepared meanwhile. */
		if (!VirtualXactLock(open[i], false) && !is_marked(&mark, open[i]))
			(void) VirtualXactLock(open[i], true);
	}
	for (i = 0; i < nprepared; i++)
	{
		limit_wait(until);
		XactLockTableWait(prepared[i], NULL, NULL, XLTW_None);
	}
	/* What it writes from now on, others must wait for. */
	(void) LockRelease(&mark, ShareLock, false);
	AtEOXact_GUC(true, nest_level);
	PG_RETURN_VOID();
}

/* A transaction that fences holds its lock until it has sent them. */
static void
wait_for_invalidations(TimestampTz until)
{
	Oid fences = get_relname_relid("tenant_fences",
								   get_namespace_oid("msgstore", false));

	limit_wait(until);
	LockRelationOid(fences, ShareLock);
	UnlockRelationOid(fences, ShareLock);
}

static bool
is_marked(const LOCKTAG *mark, VirtualTransactionId transaction)
{
	VirtualTransactionId *marked;
	bool found = false;
	int n;
	int i;

	marked = GetLockConflicts(mark, ExclusiveLock, &n);
	for (i = 0; i < n; i++)
		found |= VirtualTransactionIdEquals(marked[i], transaction);
	return found;
}

static TransactionId *
list_prepared(int *n)
{
	MemoryContext caller = CurrentMemoryContext;
	TransactionId *prepared;
	uint64 row;
	bool isnull;

	SPI_connect();
	statement_execute(&prepared_transactions, NULL, NULL);
	*n = (int) SPI_processed;
	prepared = MemoryContextAlloc(caller, sizeof(TransactionId) * Max(*n, 1));
	for (row = 0; row < SPI_processed; row++)
		prepared[row] = DatumGetTransactionId(statement_value(row, 1, &isnull));
	SPI_finish();
	return prepared;
}

/* The rest of the time, at least a millisecond: 0 would be no limit. */
static void
limit_wait(TimestampTz until)
{
	long rest = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
	char value[32];

	snprintf(value, sizeof(value), "%ldms", Min(Max(rest, 1), PG_INT32_MAX));
	(void) set_config_option("lock_timeout",
							 value,
							 PGC_USERSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
}

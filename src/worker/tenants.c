/*
 * worker/tenants.c: lists the tenants that have events in the queue.
 *
 * One probe of the queue's primary key finds the next tenant, whatever the
 * number of its events. The probe reads index entries and not rows: otherwise
 * it would have to pass, one by one, the entries of deleted rows that an old
 * transaction could still see. So a tenant is listed until its last entry is
 * cleaned up, which costs callers one probe more.
 *
 * Entries that are known to be dead are passed over, to reach a tenant that has
 * events behind many tenants that have none. But those of the tenant that the
 * list ends with are as good as others: a worker lists up to the tenant that it
 * served last, and has itself left thousands of dead entries behind.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "address/address.h"
#include "server/tables.h"
#include "server/versions.h"
#include "wake/wake.h"
#include "worker/tenants.h"

static IndexScanDesc begin_scan(Relation table, Relation index);
static text *
find_next(IndexScanDesc scan, const text *after, const text *until);
static text *next_tenant(IndexScanDesc scan, const text *after);

PG_FUNCTION_INFO_V1(msgstore_look_again);

/* _look_again(): retries and claims of tenants may be due that were not here.
 */
Datum
msgstore_look_again(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_for_retry(DT_NOBEGIN, 0);
	wake_for_claim(DT_NOBEGIN);
	PG_RETURN_VOID();
}

int
worker_list_tenants(const text *after,
					const text *until,
					int most,
					text **tenants)
{
	Relation table = tables_open_rows("event_queue", AccessShareLock);
	Relation index = index_open(
		get_relname_relid("event_queue_pkey", RelationGetNamespace(table)),
		AccessShareLock);
	IndexScanDesc scan = begin_scan(table, index);
	int n = 0;

	while (n < most)
	{
		text *tenant = find_next(scan, after, until);

		if (tenant == NULL)
			break;
		tenants[n++] = tenant;
		after = tenant;
	}
	index_endscan(scan);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return n;
}

static IndexScanDesc
begin_scan(Relation table, Relation index)
{
	return index_beginscan(table, index, GetActiveSnapshot(), NULL, 1, 0, 0);
}

/* Returns NULL if there is none, or the next one is greater than until. */
static text *
find_next(IndexScanDesc scan, const text *after, const text *until)
{
	text *tenant;

	if (until == NULL)
		return next_tenant(scan, after);
	if (after != NULL && address_compare(after, until) >= 0)
		return NULL;
	scan->ignore_killed_tuples = false;
	tenant = next_tenant(scan, after);
	scan->ignore_killed_tuples = true;
	if (tenant != NULL && address_compare(tenant, until) < 0)
		tenant = next_tenant(scan, after);
	return tenant != NULL && address_compare(tenant, until) <= 0 ? tenant
																 : NULL;
}

/* The smallest tenant is '', so without a bound the scan includes it. */
static text *
next_tenant(IndexScanDesc scan, const text *after)
{
	StrategyNumber strategy =
		after == NULL ? BTGreaterEqualStrategyNumber : BTGreaterStrategyNumber;
	ScanKeyData bound;
	bool isnull;

	/* The column has collation C, which is the default of a scan key. */
	ScanKeyInit(&bound,
				1,
				strategy,
				after == NULL ? F_TEXT_GE : F_TEXT_GT,
				after == NULL ? CStringGetTextDatum("")
							  : PointerGetDatum(after));
	scan->xs_want_itup = true;
	index_rescan(scan, &bound, 1, NULL, 0);
	if (index_getnext_tid(scan, ForwardScanDirection) == NULL)
		return NULL;
	return DatumGetTextPCopy(
		index_getattr(scan->xs_itup, 1, scan->xs_itupdesc, &isnull));
}

/*
 * streams/horizon.c: what the events themselves tell about their order.
 *
 * Each event is stored with two transaction ids: its horizon, the next one
 * after its position was drawn, and a bound below which all transactions had
 * ended when it was appended (the xmin of its snapshot). A session that drew a
 * smaller position had its transaction id before. So once all transactions
 * below the horizon of an event have ended, all smaller positions are settled.
 *
 * That they have ended is known in two ways:
 *
 * - From the xmin of this server's snapshot. Readers use it when there are no
 *   shared slots to read (position.c).
 * - From a later event. In a log that logical replication fills, transactions
 *   arrive in the order of their commits. A transaction that had ended before
 *   an event was appended has committed before it, so its events are here. The
 *   last events have no later one; they are settled as long as no position is
 *   missing in between, in any tenant.
 *
 * The horizon contains bits of the cluster's system identifier, because in
 * another cluster, where the event was restored, its transaction ids mean
 * nothing for the server's snapshots.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "server/settings.h"
#include "server/statement.h"
#include "streams/horizon.h"

/*
 * A horizon has 14 bits of the cluster, 6 bits for the distance of the bound
 * (its logarithm, rounded up), and 44 bits of the transaction id. These wrap
 * around after 10^13 transactions.
 */
#define XID_BITS 44
#define DISTANCE_BITS 6
#define CLUSTER_SHIFT (XID_BITS + DISTANCE_BITS)
#define XID_MASK ((UINT64CONST(1) << XID_BITS) - 1)

/* No transaction of the cluster is so far ahead of what a server knows. */
#define XIDS_AHEAD (UINT64CONST(1) << 31)

static Statement probe_below = {
	.sql = "SELECT global_position, horizon FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND global_position <= $2"
		   " ORDER BY global_position DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8OID},
	.table = "stream_events"};

/* Recent events; the newest bound is among them. */
static Statement recent_horizons = {
	.sql = "SELECT horizon FROM msgstore.stream_events WHERE tenant_id = $1"
		   " ORDER BY global_position DESC LIMIT 100",
	.nargs = 1,
	.argtypes = {TEXTOID},
	.table = "stream_events"};

/*
 * The end of the positions after $1 of which none is missing. It steps from
 * tenant to tenant with an index probe each.
 */
static Statement end_of_run = {
	.sql = "WITH RECURSIVE tenants AS ("
		   " (SELECT tenant_id FROM msgstore.stream_events"
		   "  ORDER BY tenant_id LIMIT 1)"
		   " UNION ALL"
		   " SELECT n.tenant_id FROM tenants t CROSS JOIN LATERAL ("
		   "  SELECT e.tenant_id FROM msgstore.stream_events e"
		   "  WHERE e.tenant_id > t.tenant_id ORDER BY e.tenant_id LIMIT 1) n)"
		   " SELECT max(r.global_position) FROM ("
		   "  SELECT e.global_position,"
		   "   row_number() OVER (ORDER BY e.global_position) AS n"
		   "  FROM tenants t CROSS JOIN LATERAL ("
		   "   SELECT l.global_position FROM msgstore.stream_events l"
		   "   WHERE l.tenant_id = t.tenant_id AND l.global_position > $1"
		   "   ORDER BY l.global_position LIMIT 10000) e) r"
		   " WHERE r.global_position = $1 + r.n",
	.nargs = 1,
	.argtypes = {INT8OID},
	.table = "stream_events"};

/* What is known of ended transactions. */
typedef struct Ended
{
	uint64 cluster; /* bits of the horizon */
	uint64 below;	/* all below this transaction id have ended */
	uint64 next;	/* no event of the cluster has a greater horizon */
} Ended;

static int64 last_settled(const Ended *ended);
static bool probe(int64 at, int64 *position, uint64 *horizon);
static bool is_settled(uint64 horizon, const Ended *ended);
static bool precedes(uint64 left, uint64 right);
static bool newest_bound(Ended *ended);
static uint64 own_cluster(void);
static uint64 full_xmin(TransactionId xmin);

int64
horizon_now(void)
{
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64 distance = 1;

	if (ActiveSnapshotSet())
		distance = next - full_xmin(GetActiveSnapshot()->xmin);
	return (int64) (own_cluster() << CLUSTER_SHIFT |
					(uint64) pg_ceil_log2_64(Max(distance, 1)) << XID_BITS |
					(next & XID_MASK));
}

int64
horizon_settled_by_xmin(void)
{
	Ended ended;

	ended.cluster = own_cluster();
	ended.below = full_xmin(GetTransactionSnapshot()->xmin) & XID_MASK;
	/*
	 * Events that are appended meanwhile have greater horizons. So have those
	 * that a standby has replayed: its next transaction id is the one after
	 * the last that it has seen, not the one of its primary.
	 */
	ended.next =
		(U64FromFullTransactionId(ReadNextFullTransactionId()) + XIDS_AHEAD) &
		XID_MASK;
	return last_settled(&ended);
}

int64
horizon_settled_in_copy(int64 settled)
{
	Ended ended = {0};
	Datum from;
	bool isnull;
	int64 end;

	if (newest_bound(&ended))
		settled = Max(settled, last_settled(&ended));
	from = Int64GetDatum(settled);
	statement_execute(&end_of_run, &from, NULL);
	end = DatumGetInt64(statement_value(0, 1, &isnull));
	return isnull ? settled : end;
}

/*
 * Finds the last event whose horizon has passed; all before it are settled. The
 * search goes back from the end in steps that double, and then halves the last
 * step: the unsettled part is only as long as the oldest transaction is old.
 */
static int64
last_settled(const Ended *ended)
{
	int64 at = PG_INT64_MAX;
	int64 step = 1;
	int64 unsettled;
	int64 position;
	int64 settled;
	uint64 horizon;

	for (;;)
	{
		if (!probe(at, &position, &horizon))
			return 0;
		if (is_settled(horizon, ended))
			break;
		unsettled = position;
		at = position - step;
		step *= 2;
		if (at <= 0)
		{
			position = 0;
			break;
		}
	}
	if (at == PG_INT64_MAX)
		return position;
	settled = position;
	while (unsettled - position > 1)
	{
		int64 middle = position + (unsettled - position) / 2;
		int64 there;

		if (!probe(middle, &there, &horizon) || there <= position)
			position = middle;
		else if (is_settled(horizon, ended))
		{
			position = middle;
			settled = there;
		}
		else
			unsettled = there;
	}
	return settled;
}

static bool
probe(int64 at, int64 *position, uint64 *horizon)
{
	Datum values[2];
	bool isnull;
	bool found;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(at);
	statement_execute(&probe_below, values, NULL);
	found = SPI_processed > 0;
	if (found)
	{
		*position = DatumGetInt64(statement_value(0, 1, &isnull));
		*horizon = (uint64) DatumGetInt64(statement_value(0, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* An event of another cluster was restored, so all before it are there. */
static bool
is_settled(uint64 horizon, const Ended *ended)
{
	return horizon >> CLUSTER_SHIFT != ended->cluster ||
		   precedes(ended->next, horizon & XID_MASK) ||
		   !precedes(ended->below, horizon & XID_MASK);
}

static bool
precedes(uint64 left, uint64 right)
{
	return (int64) ((left - right) << (64 - XID_BITS)) < 0;
}

/*
 * The greatest bound in the events of the last event's cluster. Transaction ids
 * that are not known yet are far ahead.
 */
static bool
newest_bound(Ended *ended)
{
	Datum tenant = CStringGetTextDatum(msgstore_tenant_id);
	uint64 row;
	bool isnull;

	statement_execute(&recent_horizons, &tenant, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		uint64 horizon =
			(uint64) DatumGetInt64(statement_value(row, 1, &isnull));
		uint64 cluster = horizon >> CLUSTER_SHIFT;
		int distance = horizon >> XID_BITS & ((1 << DISTANCE_BITS) - 1);
		uint64 bound = (horizon - (UINT64CONST(1) << distance)) & XID_MASK;

		if (row == 0)
		{
			ended->cluster = cluster;
			ended->below = bound;
		}
		else if (cluster == ended->cluster && precedes(ended->below, bound))
			ended->below = bound;
	}
	ended->next = (ended->below + XID_MASK / 4) & XID_MASK;
	return SPI_processed > 0;
}

static uint64
own_cluster(void)
{
	return GetSystemIdentifier() & ((1 << (64 - CLUSTER_SHIFT)) - 1);
}

static uint64
full_xmin(TransactionId xmin)
{
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64 full = (next & ~UINT64CONST(0xffffffff)) | xmin;

	return full > next ? full - (UINT64CONST(1) << 32) : full;
}

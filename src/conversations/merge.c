/*
 * conversations/merge.c: merges the changes of conversations.
 *
 * Readers add up the changes that are not merged, so their number is bounded.
 * The worker that runs the periodic tasks merges them: when a commit makes them
 * too many, and otherwise after a while, see wake/changes.c. Each merge pays
 * for a conversation once, however many changes it has, so it should not come
 * too early.
 *
 * Without a worker, sessions merge at the end of a call, after so many rows of
 * their own. In case each session adds only a few, some calls also merge when
 * the table has grown; it does not shrink before it is vacuumed.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "conversations/merge.h"
#include "live/live.h"
#include "server/locks.h"
#include "server/statement.h"
#include "server/tables.h"
#include "wake/changes.h"

/* Changes merged in one transaction, which are all but after a long pause. */
#define CHANGES_AT_ONCE 100000

/* A session merges after so many rows of its own. */
#define ROWS_PER_SESSION 64

/* One call in so many merges if the table of changes has grown to this size. */
#define CALLS_PER_MERGE 16
#define MANY_BLOCKS 64

/* Pause before it tries again while a session holds the changes: milliseconds.
 */
#define HELD_PAUSE 1000

static Statement merge_changes = {.sql = "SELECT msgstore._merge_changes($1)",
								  .nargs = 1,
								  .argtypes = {INT4OID}};

/* Rows that this session has added since it last merged. */
static int own_rows = 0;

static bool lock_changes(LOCKMODE mode, bool wait);
static bool is_due(void);
static int merge(void);

PG_FUNCTION_INFO_V1(msgstore_hold_changes);
PG_FUNCTION_INFO_V1(msgstore_share_changes);

/* _hold_changes(wait) */
Datum
msgstore_hold_changes(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lock_changes(ExclusiveLock, PG_GETARG_BOOL(0)));
}

/* _share_changes() */
Datum
msgstore_share_changes(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	(void) lock_changes(ShareLock, true);
	PG_RETURN_VOID();
}

static bool
lock_changes(LOCKMODE mode, bool wait)
{
	LOCKTAG tag = locks_tag(LOCK_CHANGES, 0);

	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
merge_note_changes(int changes, int rows)
{
	own_rows += rows;
	wake_for_changes(changes);
}

long
merge_turn(void)
{
	int merged;

	wake_take_changes();
	merged = merge();
	if (merged < 0)
		return HELD_PAUSE;
	/* What commits have added since is counted: see wake/changes.c. */
	return merged < CHANGES_AT_ONCE ? -1 : 0;
}

/* A transaction-wide snapshot does not show the rows that others have added. */
void
merge_without_worker(void)
{
	if (own_rows == 0 || IsolationUsesXactSnapshot() || !is_due())
		return;
	own_rows = 0;
	if (wake_merges_changes())
		return;
	while (merge() > 0)
		CHECK_FOR_INTERRUPTS();
}

static bool
is_due(void)
{
	Relation table;
	BlockNumber blocks;

	if (own_rows >= ROWS_PER_SESSION)
		return true;
	if (pg_prng_uint64_range(&pg_global_prng_state, 1, CALLS_PER_MERGE) != 1)
		return false;
	table = tables_open("conversation_changes", AccessShareLock);
	blocks = RelationGetNumberOfBlocks(table);
	table_close(table, NoLock);
	return blocks >= MANY_BLOCKS;
}

static int
merge(void)
{
	Datum values[1] = {Int32GetDatum(CHANGES_AT_ONCE)};
	bool isnull;

	live_purge();
	statement_execute(&merge_changes, values, NULL);
	return DatumGetInt32(statement_value(0, 1, &isnull));
}

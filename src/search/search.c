/*
 * search/search.c: fills the index of messages, behind the hot path.
 *
 * The index is in SQL, see sql/35_search. C makes the terms of messages, in
 * terms.c, and has the worker's turn. A turn is short, because events wait for
 * it, and the busier the worker is with events, the longer it pauses between
 * two turns: half of the time is for the index while no events come, and 2 %
 * while there are more than the worker can process. The index may fall behind
 * so, but not for ever: see LATE_PAUSES.
 *
 * One session at a time indexes, or removes entries of messages that it erases
 * or changes: an entry made of an old message must not outlive it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "search/search.h"
#include "server/locks.h"
#include "server/settings.h"
#include "server/statement.h"
#include "wake/changes.h"

/* Messages indexed in one turn, which take some milliseconds. */
#define TURN_MESSAGES 125

/*
 * A pause is as long as the turn before it while the worker has nothing else to
 * do, and so many times longer for the share of its time that events take. The
 * sessions that store the events one by one take ten times as much, so if that
 * share is more than a little, the machine may have no rest, and the pause
 * grows with its square, too.
 */
#define BUSY_PAUSES 64
#define BUSY_SQUARE_PAUSES 2560

/* The same while a message has waited for longer than ten minutes: see
 * _search_is_late(). */
#define LATE_PAUSES 3

/* Pause before it tries again while another session holds the index:
 * milliseconds. */
#define HELD_PAUSE 1000

static Statement index_batch = {
	.sql = "SELECT msgstore._index_batch($1), msgstore._search_is_late()",
	.nargs = 1,
	.argtypes = {INT4OID}};

static long pause_after(int64 turn, double busy, bool late);

PG_FUNCTION_INFO_V1(msgstore_hold_search);
PG_FUNCTION_INFO_V1(msgstore_announce_search);

/* _hold_search(wait) */
Datum
msgstore_hold_search(PG_FUNCTION_ARGS)
{
	bool wait = PG_GETARG_BOOL(0);
	LOCKTAG tag = locks_tag(LOCK_SEARCH, 0);

	PG_RETURN_BOOL(LockAcquire(&tag, ExclusiveLock, false, !wait) !=
				   LOCKACQUIRE_NOT_AVAIL);
}

/* _announce_search(): the worker indexes after each merge. */
Datum
msgstore_announce_search(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	wake_for_changes(1);
	PG_RETURN_VOID();
}

/*
 * Entries and the changes that they are made of are in one transaction: if its
 * commit is lost in a crash, nothing is missing, and it need not wait for the
 * disk.
 */
long
search_turn(int64 busy_us)
{
	static TimestampTz last_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	Datum values[1] = {Int32GetDatum(TURN_MESSAGES)};
	double busy = Min((double) busy_us / Max(now - last_at, 1), 1);
	bool isnull;
	int indexed;

	if (!msgstore_search)
		return -1;
	(void) set_config_option("synchronous_commit",
							 "off",
							 PGC_USERSET,
							 PGC_S_SESSION,
							 GUC_ACTION_LOCAL,
							 true,
							 0,
							 false);
	statement_execute(&index_batch, values, NULL);
	indexed = DatumGetInt32(statement_value(0, 1, &isnull));
	last_at = GetCurrentTimestamp();
	if (indexed == -1)
		return HELD_PAUSE;
	if (indexed < 0)
		return -1;
	return pause_after(last_at - now,
					   busy,
					   DatumGetBool(statement_value(0, 2, &isnull)));
}

/* In milliseconds, for a turn in microseconds. */
static long
pause_after(int64 turn, double busy, bool late)
{
	double pauses = late ? busy * LATE_PAUSES
						 : busy * (BUSY_PAUSES + busy * BUSY_SQUARE_PAUSES);

	return turn * (1 + pauses) / 1000;
}

/*
 * search/search.c: fills the index of messages, behind the hot path.
 *
 * The index is in SQL, see sql/35_search. C has the worker's turn, which is
 * short, because events wait for it, and its pauses: while events are waiting,
 * the turns together take a SHARE of the worker's time.
 *
 * One session at a time indexes, or removes entries of messages that it erases
 * or changes: an entry made of an old message must not outlive it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/timestamp.h"

#include "search/search.h"
#include "server/settings.h"
#include "server/statement.h"
#include "wake/changes.h"

/* Messages indexed in one turn, which take some milliseconds. */
#define TURN_MESSAGES 100

/* A turn's share of the time while events are waiting is one in so many. */
#define SHARE 33

/* Pause before it tries again while another session holds the index:
 * milliseconds. */
#define HELD_PAUSE 1000

/* An advisory lock: see wake/lanes.c. */
#define SEARCH_LOCK_CLASS 0x6d736773 /* "msgs" */
#define SEARCH_LOCK_SUBID 6

static Statement index_batch = {.sql = "SELECT msgstore._index_batch($1)",
								.nargs = 1,
								.argtypes = {INT4OID}};

PG_FUNCTION_INFO_V1(msgstore_hold_search);
PG_FUNCTION_INFO_V1(msgstore_announce_search);

/* _hold_search(wait) */
Datum
msgstore_hold_search(PG_FUNCTION_ARGS)
{
	bool wait = PG_GETARG_BOOL(0);
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag,
						 MyDatabaseId,
						 SEARCH_LOCK_CLASS,
						 0,
						 SEARCH_LOCK_SUBID);
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

long
search_turn(bool events_wait)
{
	TimestampTz started_at = GetCurrentTimestamp();
	Datum values[1] = {Int32GetDatum(TURN_MESSAGES)};
	bool isnull;
	int indexed;
	long took;

	if (!msgstore_search)
		return -1;
	statement_execute(&index_batch, values, NULL);
	indexed = DatumGetInt32(statement_value(0, 1, &isnull));
	if (indexed == -1)
		return HELD_PAUSE;
	if (indexed < 0)
		return -1;
	took = TimestampDifferenceMilliseconds(started_at, GetCurrentTimestamp());
	return events_wait ? (took + 1) * (SHARE - 1) : took;
}

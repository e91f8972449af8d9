/*
 * worker_search.c: where a worker looks for events.
 *
 * A queue's index keeps entries of rows that are long deleted for as long as
 * some transaction could see them, and these stand where a search begins. So a
 * worker does not begin at the index's end but where it stopped, and commits
 * tell it when something has come in before that: see worker_shared.c.
 *
 * What nobody tells of (rows of a restore, a lock that a person held) is found
 * by looking at everything now and then: as often as it costs a twentieth of
 * the time at most, which is nearly always when no such entries are there.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "worker_search.h"

#define FULL_SEARCH_PAUSES 20

static WorkerSearch search;

/* The last search of everything: its end, and what it took. */
static TimestampTz full_search_at = 0;
static int64 full_search_us = 0;

/* Whether this one is of everything, and where it would have begun if not. */
static bool is_full = false;
static pg_uuid_t usual_start;

WorkerSearch *
worker_begin_search(uint64 share, const WorkerNews *news)
{
	is_full = share != search.lanes || GetCurrentTimestamp() - full_search_at >=
										   full_search_us * FULL_SEARCH_PAUSES;
	search.lanes = share;
	if (memcmp(&news->lowest, &search.fresh_from, sizeof(pg_uuid_t)) < 0)
		search.fresh_from = news->lowest;
	search.retries_from = Min(search.retries_from, news->earliest);
	if (is_full)
	{
		usual_start = search.fresh_from;
		memset(&search.fresh_from, 0, sizeof(pg_uuid_t));
		search.retries_from = DT_NOBEGIN;
	}
	return &search;
}

void
worker_end_search(void)
{
	static const pg_uuid_t zero;

	if (!is_full)
		return;
	if (memcmp(&search.fresh_from, &zero, sizeof(pg_uuid_t)) == 0)
		search.fresh_from = usual_start;
	full_search_at = GetCurrentTimestamp();
	full_search_us = search.claim_us;
}

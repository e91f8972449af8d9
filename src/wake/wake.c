/*
 * wake/wake.c: waking workers at the end of the transaction that has work for
 * them.
 *
 * A commit finds the workers whose lanes it has events for and sets their
 * latches, also those of busy workers, which may have looked at the queue for
 * the last time already. Setting the latch of a running process is a store to
 * memory: a stream of commits costs a busy worker nothing.
 *
 * A commit also tells workers from where on the queue has changed, so that
 * they need not walk again over events that they have left behind: see
 * worker/search.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/resowner.h"

#include "wake/lanes.h"
#include "wake/shared.h"
#include "wake/wake.h"

/* What the current transaction will tell at commit, and which lanes. */
static uint64 wake_lanes = 0;
static WorkerNews news;

/*
 * The deepest nesting level that holds events or lanes, 0 for none. Aborting it
 * releases them.
 */
static int holding_level = 0;

/*
 * The same for the commit or abort in progress. Workers are woken after the
 * locks are released: a worker that wakes earlier would skip the lanes again.
 */
static uint64 ended_lanes = 0;
static WorkerNews ended_news;

static void begin_news(void);
static void at_transaction_end(XactEvent event, void *arg);
static void release_all(void);
static void at_locks_released(ResourceReleasePhase phase,
							  bool is_commit,
							  bool is_top_level,
							  void *arg);
static void at_subtransaction_end(SubXactEvent event,
								  SubTransactionId own,
								  SubTransactionId parent,
								  void *arg);

void
wake_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	RegisterResourceReleaseCallback(at_locks_released, NULL);
}

void
wake_at_commit(void)
{
	begin_news();
	wake_lanes = LANES_ALL;
	wake_spoil_news(&news);
}

void
wake_for_event(const pg_uuid_t *id, int lane)
{
	begin_news();
	wake_lanes |= UINT64CONST(1) << lane;
	if (memcmp(id, &news.lowest, sizeof(pg_uuid_t)) < 0)
		news.lowest = *id;
}

void
wake_for_retry(TimestampTz at, int lane)
{
	begin_news();
	wake_lanes |= UINT64CONST(1) << lane;
	news.earliest = Min(news.earliest, at);
}

void
wake_for_claim(TimestampTz expiry)
{
	begin_news();
	wake_lanes = LANES_ALL;
	news.expiry = Min(news.expiry, expiry);
}

void
wake_at_abort(void)
{
	holding_level = Max(holding_level, GetCurrentTransactionNestLevel());
}

static void
begin_news(void)
{
	if (wake_lanes == 0)
		wake_clear_news(&news);
}

/*
 * PREPARE TRANSACTION wakes nobody, because the outcome is not known yet.
 * COMMIT PREPARED makes the workers search everything: see worker/aside.c.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT)
	{
		ended_lanes = wake_lanes;
		ended_news = news;
	}
	else if (event == XACT_EVENT_ABORT && holding_level > 0)
		release_all();
	else if (event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	wake_lanes = 0;
	holding_level = 0;
}

static void
release_all(void)
{
	ended_lanes = LANES_ALL;
	wake_spoil_news(&ended_news);
}

static void
at_locks_released(ResourceReleasePhase phase,
				  bool is_commit,
				  bool is_top_level,
				  void *arg)
{
	uint64 lanes = ended_lanes;

	(void) is_commit;
	(void) is_top_level;
	(void) arg;
	if (lanes == 0 || phase != RESOURCE_RELEASE_AFTER_LOCKS)
		return;
	ended_lanes = 0;
	if (wake_shared != NULL)
		wake_workers(MyDatabaseId, lanes, &ended_news);
}

/*
 * A batch that fails does so in a subtransaction below the level that holds its
 * events, so it wakes nobody.
 */
static void
at_subtransaction_end(SubXactEvent event,
					  SubTransactionId own,
					  SubTransactionId parent,
					  void *arg)
{
	(void) own;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB &&
		GetCurrentTransactionNestLevel() <= holding_level)
		release_all();
}

/*
 * worker/apply.c: turns the events of a batch into messages.
 *
 * A batch is read from lanes that the transaction has locked, so nobody else
 * processes events of its conversations meanwhile, and a crash releases it at
 * once. In a subtransaction, a few statements delete the queue rows and add the
 * messages of the whole batch. Only if this fails are the rows locked and the
 * events tried one by one, each in a subtransaction of its own: a bad event
 * costs the others nothing but time.
 *
 * A failure is stored with its SQLSTATE and counted. Deadlocks and lock
 * timeouts are not caused by the event, so it is retried and the attempt not
 * counted. Errors that no event can cause end the transaction. An event can
 * also end the process: before code of users runs, the events are recorded for
 * the next worker (see worker/recorder.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "address/address.h"
#include "channels/channels.h"
#include "conversations/consent.h"
#include "conversations/conversations.h"
#include "conversations/tell.h"
#include "server/errors.h"
#include "stats/stats.h"
#include "stats/worker.h"
#include "wake/lanes.h"
#include "wake/wake.h"
#include "worker/apply.h"
#include "worker/failures.h"
#include "worker/order.h"
#include "worker/recorder.h"
#include "worker/search.h"
#include "worker/take.h"
#include "worker/user_code.h"

/*
 * Limits for waiting for a locked conversation, or for locks that a handler
 * requests: see try_apply().
 */
#define BATCH_LOCK_TIMEOUT "1s"
#define EVENT_LOCK_TIMEOUT "100ms"

static void claim_in_lanes(int most,
						   TimestampTz due,
						   WorkerSearch *search,
						   WorkerBatch *batch);
static ErrorData *try_apply(WorkerBatch *batch, int first, int n);
static void record(const WorkerBatch *batch, int first, int n);
static void set_lock_timeout(const char *value);
static int count_alike(const ConversationMessage *messages, int n);
static int apply_each(WorkerBatch *batch,
					  const ConversationMessage *culprit,
					  ErrorData *error);
static bool apply_one(WorkerBatch *batch, int i, ErrorData *error);
static bool keep_failure(const ConversationMessage *event,
						 const ErrorData *error,
						 bool in_handler);
static bool is_blocked(const WorkerBatch *batch, int i);

int
worker_run_batch(int most, TimestampTz due, WorkerSearch *search, int *left)
{
	WorkerBatch batch;
	int claimed;

	wake_at_abort();
	stats_worker_state(STATS_WORKER_CLAIMING);
	claim_in_lanes(most, due, search, &batch);
	claimed = batch.n;
	stats_count(STATS_WORKER_CLAIMED, claimed);
	stats_worker_batch(claimed);
	worker_apply_batch(&batch, left);
	return claimed;
}

void
worker_apply_batch(WorkerBatch *batch, int *left)
{
	const ConversationMessage *culprit;
	ErrorData *error;

	*left = 0;
	/* Updates of rows that must wait for others must not block: lock first. */
	if (channels_any_strict())
		worker_lock_events(batch);
	worker_hold_back(batch);
	if (batch->n == 0)
		return;
	batch->handlers = worker_find_handlers();
	stats_worker_state(STATS_WORKER_APPLYING);
	error = try_apply(batch, 0, batch->n);
	culprit = worker_left_handler(batch->handlers);
	if (error == NULL)
		*left = batch->n;
	else if (worker_is_unexpected(error, culprit != NULL))
		ReThrowError(error);
	else
	{
		worker_lock_events(batch);
		*left = apply_each(batch, culprit, error);
		/* For what is deferred until the commit. */
		record(batch, 0, batch->n);
	}
	stats_worker_done(*left - batch->dead, batch->errors, batch->dead);
}

/*
 * The lanes are locked before the snapshot is taken, so that the search sees
 * everything that their last holder committed. What commits have told is read
 * after that: of an event that the search sees, the earlier ones of its
 * conversation were told before, and are not behind the place where it starts.
 * If a holder has died of an event, nothing is claimed.
 */
static void
claim_in_lanes(int most,
			   TimestampTz due,
			   WorkerSearch *search,
			   WorkerBatch *batch)
{
	TimestampTz started_at = GetCurrentTimestamp();
	uint64 wanted = search->lanes;

	search->lanes = lanes_take(wanted);
	if (recorder_has_news())
		worker_make_batch(batch);
	else
	{
		CommandCounterIncrement();
		PushCopiedSnapshot(GetTransactionSnapshot());
		UpdateActiveSnapshotCommandId();
		worker_update_search(search);
		worker_claim(most, due, search, batch);
		PopActiveSnapshot();
	}
	lanes_give(search->lanes & ~batch->lanes);
	search->incomplete = search->lanes != wanted || recorder_has_news();
	search->lanes = wanted;
	search->claim_us = GetCurrentTimestamp() - started_at;
}

/*
 * Returns NULL, or the error that rolled it back, in the caller's memory
 * context. The whole batch waits if one of its conversations is locked, so
 * lock_timeout is short.
 */
static ErrorData *
try_apply(WorkerBatch *batch, int first, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		int nest_level = NewGUCNestLevel();
		int taken;

		set_lock_timeout(n > 1 ? BATCH_LOCK_TIMEOUT : EVENT_LOCK_TIMEOUT);
		record(batch, first, n);
		taken = worker_take_events(batch, first, n);
		if (taken != n)
			record(batch, first, taken);
		worker_apply(batch, first, taken, false);
		AtEOXact_GUC(true, nest_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		recorder_clear();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
}

/* Events that run no code of users are not to blame for a death. */
static void
record(const WorkerBatch *batch, int first, int n)
{
	if (n > 0 && worker_runs_user_code(batch, first, n))
		recorder_begin(batch->messages + first, batch->lane + first, n);
	else
		recorder_clear();
}

static void
set_lock_timeout(const char *value)
{
	(void) set_config_option("lock_timeout",
							 value,
							 PGC_USERSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
}

void
worker_apply(WorkerBatch *batch, int first, int n, bool wait)
{
	ConversationMessage *messages = batch->messages + first;
	Datum values[2];
	int created;
	int alike;
	int i;

	if (n == 0)
		return;
	created = conversations_add(messages, n, wait);
	consent_read(messages, n);
	tell_received(messages, n);
	worker_call_handlers(batch->handlers, messages, n);
	if (batch->has_lines)
	{
		worker_keys(batch, first, n, &values[0], &values[1]);
		worker_leave_line(values[0], values[1]);
	}

	stats_count(STATS_CONVERSATIONS_CREATED, created);
	stats_count(STATS_CONVERSATIONS_REUSED, n - created);
	for (i = 0; i < n; i++)
		stats_count_latency(batch->accepted_at[first + i]);
	for (i = 0; i < n; i += alike)
	{
		alike = count_alike(messages + i, n - i);
		stats_count_for(STATS_WORKER_PROCESSED,
						messages[i].tenant_id,
						messages[i].channel,
						alike);
		stats_move(STATS_QUEUED,
				   messages[i].tenant_id,
				   messages[i].channel,
				   -alike);
	}
}

/* The number of messages of the first one's tenant and channel, up to another.
 */
static int
count_alike(const ConversationMessage *messages, int n)
{
	int alike = 1;

	while (alike < n &&
		   address_compare(messages[alike].channel, messages->channel) == 0 &&
		   address_compare(messages[alike].tenant_id, messages->tenant_id) == 0)
		alike++;
	return alike;
}

/*
 * Tries the events one by one. Returns how many left the queue. The event whose
 * handler was cancelled is not tried again: the handler might hang again.
 */
static int
apply_each(WorkerBatch *batch,
		   const ConversationMessage *culprit,
		   ErrorData *error)
{
	bool cancelled = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	int left = 0;
	int i;

	stats_worker_state(STATS_WORKER_RETRYING);
	for (i = 0; i < batch->n; i++)
	{
		bool known = cancelled && &batch->messages[i] == culprit;

		CHECK_FOR_INTERRUPTS();
		left += apply_one(batch, i, known ? error : NULL);
	}
	return left;
}

/*
 * Returns whether the event left the queue. It is not tried if its conversation
 * is known to be locked, or if error already has its handler's error.
 */
static bool
apply_one(WorkerBatch *batch, int i, ErrorData *error)
{
	const ConversationMessage *event = &batch->messages[i];
	bool in_handler = error != NULL;
	bool dead = false;

	if (is_blocked(batch, i))
	{
		if (batch->strict[i])
			worker_stand_in_line(batch, i);
		else
			worker_postpone(event);
		return false;
	}
	if (error == NULL)
	{
		error = try_apply(batch, i, 1);
		if (error == NULL)
			return true;
		in_handler = worker_left_handler(batch->handlers) != NULL;
	}
	if (worker_is_unexpected(error, in_handler))
		ReThrowError(error);
	if (worker_is_nobodys_fault(error))
	{
		batch->blocked[i] = true;
		worker_postpone(event);
	}
	else
	{
		stats_count(STATS_CONVERSATIONS_FAILURES, 1);
		dead = keep_failure(event, error, in_handler);
		batch->dead += dead;
		batch->errors += !dead;
	}
	worker_open_line(batch, i, dead);
	return dead;
}

/* MS400 raised by msgstore itself is permanent: it would be raised again. */
static bool
keep_failure(const ConversationMessage *event,
			 const ErrorData *error,
			 bool in_handler)
{
	WorkerFailure failure = {
		.code = pstrdup(unpack_sql_state(error->sqlerrcode)),
		.message = error->message,
		.permanent =
			!in_handler && error->sqlerrcode == ERRCODE_MS_BAD_REQUEST};

	return worker_keep_failure(event, &failure);
}

/*
 * Whether an earlier event of the same conversation was postponed or, with
 * strict_order, failed. Strict and other channels of a thread are independent.
 */
static bool
is_blocked(const WorkerBatch *batch, int i)
{
	const ConversationMessage *event = &batch->messages[i];
	int k;

	for (k = 0; k < i; k++)
	{
		const ConversationMessage *other = &batch->messages[k];

		if (batch->blocked[k] && batch->strict[k] == batch->strict[i] &&
			event->conversation_key != NULL &&
			address_compare(other->tenant_id, event->tenant_id) == 0 &&
			address_compare(other->conversation_key, event->conversation_key) ==
				0)
			return true;
	}
	return false;
}

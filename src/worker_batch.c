/*
 * worker_batch.c: events become messages.
 *
 * A batch is claimed by row locks that the transaction holds, so that a crash
 * lets go of it at once. Its messages are added and its queue rows deleted by
 * a few statements for all of it, in a subtransaction. Only when that fails
 * are its events tried one by one, each in a subtransaction of its own: one
 * bad event costs its neighbours nothing but time.
 *
 * An event's failure is kept with its SQLSTATE and counted, except for errors
 * that are nobody's fault (deadlocks, lock timeouts): these are tried again
 * uncounted. Errors that no event can cause end the transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "address.h"
#include "conversations.h"
#include "inbox.h"
#include "msgstore.h"
#include "statement.h"
#include "stats.h"
#include "worker.h"
#include "worker_message.h"

/*
 * Retries take at most half of a batch, so that events that keep failing do
 * not hold back those that never did.
 */
static Statement claim_events = {
	.sql = "SELECT " WORKER_MESSAGE_COLUMNS " FROM (SELECT * FROM ("
		   "  SELECT tenant_id, event_id FROM msgstore.event_queue"
		   "  WHERE next_attempt_at <= $2"
		   "  ORDER BY next_attempt_at LIMIT ($1 + 1) / 2"
		   "  FOR UPDATE SKIP LOCKED) AS retry"
		   " UNION ALL SELECT * FROM ("
		   "  SELECT tenant_id, event_id FROM msgstore.event_queue"
		   "  WHERE next_attempt_at IS NULL"
		   "  ORDER BY next_attempt_at, event_id LIMIT $1"
		   "  FOR UPDATE SKIP LOCKED) AS new"
		   " LIMIT $1) AS q"
		   " JOIN msgstore.event_log l"
		   " ON l.tenant_id = q.tenant_id AND l.id = q.event_id",
	.nargs = 2,
	.argtypes = {INT8OID, TIMESTAMPTZOID},
	.table = "event_log"};

static Statement delete_from_queue = {
	.sql = "DELETE FROM msgstore.event_queue q"
		   " USING unnest($1, $2) AS d (tenant_id, event_id)"
		   " WHERE q.tenant_id = d.tenant_id AND q.event_id = d.event_id",
	.nargs = 2,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID}};

static Statement postpone_event = {
	.sql = "UPDATE msgstore.event_queue SET next_attempt_at = $3"
		   " WHERE tenant_id = $1 AND event_id = $2",
	.nargs = 3,
	.argtypes = {TEXTOID, UUIDOID, TIMESTAMPTZOID}};

static Statement count_failure = {
	.sql = "SELECT attempt_count, dead FROM msgstore._keep_failure($1, $2,"
		   " 'inbound', $3, $4, permanent => $5)",
	.nargs = 5,
	.argtypes = {TEXTOID, UUIDOID, TEXTOID, TEXTOID, BOOLOID}};

static Statement next_retry = {
	.sql = "SELECT next_attempt_at FROM msgstore.event_queue"
		   " WHERE next_attempt_at > $1 ORDER BY next_attempt_at LIMIT 1",
	.nargs = 1,
	.argtypes = {TIMESTAMPTZOID}};

/* Claimed events: the messages they make, and when they were accepted. */
typedef struct Batch
{
	ConversationMessage *messages;
	TimestampTz *accepted_at;
	bool *blocked; /* its conversation was locked by somebody */
	int n;
} Batch;

/* Waits for a conversation that somebody else holds: see try_apply(). */
#define BATCH_LOCK_TIMEOUT "1s"
#define EVENT_LOCK_TIMEOUT "100ms"

static void claim(int most, TimestampTz due, Batch *batch);
static ErrorData *try_apply(Batch *batch, int first, int n);
static void set_lock_timeout(const char *value);
static void apply(Batch *batch, int first, int n);
static int apply_each(Batch *batch);
static bool is_blocked(const Batch *batch, int i);
static bool is_unexpected(const ErrorData *error);
static bool is_nobodys_fault(const ErrorData *error);
static bool keep_failure(const ConversationMessage *event,
						 const ErrorData *error);
static void log_failure(const ConversationMessage *event,
						const ErrorData *error,
						int attempts,
						bool dead);
static void postpone(const ConversationMessage *event, int64 delay);
static int64 backoff(int attempts);
static char *event_name(const ConversationMessage *event);

PG_FUNCTION_INFO_V1(msgstore_backoff);

int
worker_run_batch(int most, TimestampTz due, int *left)
{
	Batch batch;
	ErrorData *error;

	worker_wake_at_abort();
	claim(most, due, &batch);
	*left = 0;
	if (batch.n == 0)
		return 0;
	stats_count(STATS_WORKER_CLAIMED, batch.n);
	error = try_apply(&batch, 0, batch.n);
	if (error == NULL)
		*left = batch.n;
	else if (is_unexpected(error))
		ReThrowError(error);
	else
		*left = apply_each(&batch);
	return batch.n;
}

/* Retries are held to half of a batch: see claim_events. */
bool
worker_has_more(int claimed, int size)
{
	return claimed >= (size + 1) / 2;
}

TimestampTz
worker_next_retry(TimestampTz after)
{
	Datum values[1];
	bool isnull;

	values[0] = TimestampTzGetDatum(after);
	statement_execute(&next_retry, values, NULL);
	if (SPI_processed == 0)
		return 0;
	return DatumGetTimestampTz(statement_value(0, 1, &isnull));
}

static void
claim(int most, TimestampTz due, Batch *batch)
{
	Datum values[2];
	uint64 row;

	values[0] = Int64GetDatum(most);
	values[1] = TimestampTzGetDatum(due);
	statement_execute(&claim_events, values, NULL);
	batch->n = (int) SPI_processed;
	batch->messages = palloc0(sizeof(ConversationMessage) * Max(batch->n, 1));
	batch->accepted_at = palloc(sizeof(TimestampTz) * Max(batch->n, 1));
	batch->blocked = palloc0(sizeof(bool) * Max(batch->n, 1));
	for (row = 0; row < SPI_processed; row++)
		batch->accepted_at[row] =
			worker_read_message(row, &batch->messages[row]);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * NULL, or the error that undid it, in the caller's memory context. The claims
 * of the whole batch wait with it while somebody holds one of its
 * conversations, so it waits for a moment only.
 */
static ErrorData *
try_apply(Batch *batch, int first, int n)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		int nest_level = NewGUCNestLevel();

		set_lock_timeout(n > 1 ? BATCH_LOCK_TIMEOUT : EVENT_LOCK_TIMEOUT);
		apply(batch, first, n);
		AtEOXact_GUC(true, nest_level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return error;
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

static void
apply(Batch *batch, int first, int n)
{
	ConversationMessage *messages = batch->messages + first;
	Datum *tenants = palloc(sizeof(Datum) * n);
	Datum *ids = palloc(sizeof(Datum) * n);
	Datum values[2];
	int created;
	int i;

	created = conversations_add(messages, n);

	/* The queue row goes last: a reader finds the event in one place. */
	for (i = 0; i < n; i++)
	{
		tenants[i] = PointerGetDatum(messages[i].tenant_id);
		ids[i] = UUIDPGetDatum(&messages[i].id);
	}
	values[0] = statement_array(TEXTOID, tenants, NULL, n);
	values[1] = statement_array(UUIDOID, ids, NULL, n);
	statement_execute(&delete_from_queue, values, NULL);
	if (SPI_processed != (uint64) n)
		elog(ERROR, "a claimed event is not in the queue");

	stats_count(STATS_WORKER_PROCESSED, n);
	stats_count(STATS_CONVERSATIONS_CREATED, created);
	stats_count(STATS_CONVERSATIONS_REUSED, n - created);
	for (i = 0; i < n; i++)
		stats_count_latency(batch->accepted_at[first + i]);
}

/* Who meets a conversation that is known to be held does not wait again. */
static int
apply_each(Batch *batch)
{
	int left = 0;
	int i;

	for (i = 0; i < batch->n; i++)
	{
		const ConversationMessage *event = &batch->messages[i];
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		if (is_blocked(batch, i))
		{
			postpone(event, backoff(1));
			continue;
		}
		error = try_apply(batch, i, 1);
		if (error == NULL)
			left++;
		else if (is_unexpected(error))
			ReThrowError(error);
		else if (is_nobodys_fault(error))
		{
			batch->blocked[i] = true;
			postpone(event, backoff(1));
		}
		else
		{
			stats_count(STATS_CONVERSATIONS_FAILURES, 1);
			left += keep_failure(event, error);
		}
	}
	return left;
}

static bool
is_blocked(const Batch *batch, int i)
{
	const ConversationMessage *event = &batch->messages[i];
	int k;

	for (k = 0; k < i; k++)
	{
		const ConversationMessage *other = &batch->messages[k];

		if (batch->blocked[k] && event->conversation_key != NULL &&
			address_compare(other->tenant_id, event->tenant_id) == 0 &&
			address_compare(other->conversation_key, event->conversation_key) ==
				0)
			return true;
	}
	return false;
}

/* A cancel, a shutdown, a full disk, a broken table. */
static bool
is_unexpected(const ErrorData *error)
{
	int class = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return class == ERRCODE_OPERATOR_INTERVENTION ||
		   class == ERRCODE_INSUFFICIENT_RESOURCES ||
		   error->sqlerrcode == ERRCODE_DATA_CORRUPTED ||
		   error->sqlerrcode == ERRCODE_INDEX_CORRUPTED ||
		   error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

static bool
is_nobodys_fault(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
			   ERRCODE_TRANSACTION_ROLLBACK ||
		   error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Whether the event left the queue, for the dead letters. */
static bool
keep_failure(const ConversationMessage *event, const ErrorData *error)
{
	Datum values[5];
	bool isnull;
	bool dead;
	int attempts;

	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlerrcode));
	values[3] = CStringGetTextDatum(error->message);
	/* What was refused once will always be: there is nothing to wait for. */
	values[4] = BoolGetDatum(error->sqlerrcode == ERRCODE_MS_BAD_REQUEST);
	statement_execute(&count_failure, values, NULL);
	attempts = DatumGetInt32(statement_value(0, 1, &isnull));
	dead = DatumGetBool(statement_value(0, 2, &isnull));
	stats_count(dead ? STATS_WORKER_DEAD_LETTER : STATS_WORKER_ERROR, 1);
	/* Its retry is due before the worker would look again. */
	worker_wake_at_commit();
	log_failure(event, error, attempts, dead);
	return dead;
}

static void
log_failure(const ConversationMessage *event,
			const ErrorData *error,
			int attempts,
			bool dead)
{
	char *name = event_name(event);

	ereport(LOG,
			(dead ? errmsg_plural(
						"moved event %s to dead letters after %d attempt: %s",
						"moved event %s to dead letters after %d attempts: %s",
						attempts,
						name,
						attempts,
						error->message)
				  : errmsg("event %s failed in attempt %d: %s",
						   name,
						   attempts,
						   error->message),
			 errdetail("SQLSTATE %s.", unpack_sql_state(error->sqlerrcode))));
}

static void
postpone(const ConversationMessage *event, int64 delay)
{
	Datum values[3];

	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp() + delay);
	statement_execute(&postpone_event, values, NULL);
	worker_wake_at_commit();
}

Datum
msgstore_backoff(PG_FUNCTION_ARGS)
{
	Interval *wait = palloc0(sizeof(Interval));

	wait->time = backoff(PG_GETARG_INT32(0));
	PG_RETURN_INTERVAL_P(wait);
}

/*
 * Microseconds before the next attempt: doubled by each failure up to the
 * limit, and between half and one and a half of that, so that events that
 * failed together do not come back together.
 */
static int64
backoff(int attempts)
{
	double delay = msgstore_backoff_base;
	int i;

	for (i = 1; i < attempts && delay < msgstore_backoff_max; i++)
		delay *= 2;
	delay = Min(delay, msgstore_backoff_max);
	return (int64) (delay * 1000 *
					(0.5 + pg_prng_double(&pg_global_prng_state)));
}

/* In double quotes, with the correlation id when the event has one. */
static char *
event_name(const ConversationMessage *event)
{
	char *id = DatumGetCString(
		DirectFunctionCall1(uuid_out, UUIDPGetDatum(&event->id)));

	if (event->correlation_id == NULL)
		return psprintf("\"%s\"", id);
	return psprintf("\"%s\" (correlation id \"%s\")",
					id,
					text_to_cstring(event->correlation_id));
}

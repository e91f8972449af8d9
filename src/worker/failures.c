/*
 * worker/failures.c: handles events that could not be applied.
 *
 * msgstore._keep_failure() decides between a retry and a dead letter, for
 * events and outbound messages. This file classifies errors and logs failures.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/settings.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "server/versions.h"
#include "stats/stats.h"
#include "stats/worker.h"
#include "wake/wake.h"
#include "worker/failures.h"

static Statement keep_failure = {
	.sql = "SELECT attempt_count, dead FROM msgstore._keep_failure($1, $2,"
		   " 'inbound', $3, $4, $5, CASE WHEN $6 THEN interval '0' END, $7)",
	.nargs = 7,
	.argtypes =
		{TEXTOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID}};

static Statement postpone_event = {
	.sql = "UPDATE msgstore.event_queue SET next_attempt_at = $3"
		   " WHERE tenant_id = $1 AND event_id = $2 RETURNING lane",
	.nargs = 3,
	.argtypes = {TEXTOID, UUIDOID, TIMESTAMPTZOID}};

static void log_failure(const ConversationMessage *event,
						const WorkerFailure *failure,
						int attempts,
						bool dead);
static char *event_name(const ConversationMessage *event);
static int64 backoff(int attempts);

PG_FUNCTION_INFO_V1(msgstore_backoff);
PG_FUNCTION_INFO_V1(msgstore_wake_for_retry);

Datum
msgstore_backoff(PG_FUNCTION_ARGS)
{
	Interval *wait = palloc0(sizeof(Interval));

	wait->time = backoff(PG_GETARG_INT32(0));
	PG_RETURN_INTERVAL_P(wait);
}

Datum
msgstore_wake_for_retry(PG_FUNCTION_ARGS)
{
	wake_for_retry(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INT16(1));
	PG_RETURN_VOID();
}

bool
worker_is_unexpected(const ErrorData *error, bool in_handler)
{
	int class = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	/* Cancelling a worker in a handler is meant for the handler. */
	if (in_handler)
		return error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
			   !AmBackgroundWorkerProcess();
	return class == ERRCODE_OPERATOR_INTERVENTION ||
		   class == ERRCODE_INSUFFICIENT_RESOURCES ||
		   error->sqlerrcode == ERRCODE_DATA_CORRUPTED ||
		   error->sqlerrcode == ERRCODE_INDEX_CORRUPTED ||
		   error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

/* Class 53 gets here from handlers only: the event did not fill the disk. */
bool
worker_is_nobodys_fault(const ErrorData *error)
{
	int class = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return class == ERRCODE_TRANSACTION_ROLLBACK ||
		   class == ERRCODE_INSUFFICIENT_RESOURCES ||
		   error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

bool
worker_keep_failure(const ConversationMessage *event,
					const WorkerFailure *failure)
{
	char nulls[] = "       ";
	Datum values[7];
	bool isnull;
	bool dead;
	int attempts;

	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	values[2] = CStringGetTextDatum(failure->code);
	values[3] = CStringGetTextDatum(failure->message);
	if (failure->processor_id != NULL)
		values[4] = CStringGetTextDatum(failure->processor_id);
	else
		nulls[4] = 'n';
	values[5] = BoolGetDatum(failure->at_once);
	values[6] = BoolGetDatum(failure->permanent);
	statement_execute(&keep_failure, values, nulls);
	attempts = DatumGetInt32(statement_value(0, 1, &isnull));
	dead = DatumGetBool(statement_value(0, 2, &isnull));
	stats_count_for(dead ? STATS_WORKER_DEAD_LETTER : STATS_WORKER_ERROR,
					event->tenant_id,
					event->channel,
					1);
	if (dead)
	{
		stats_move(STATS_QUEUED, event->tenant_id, event->channel, -1);
		stats_move(STATS_DEAD, event->tenant_id, event->channel, 1);
	}
	stats_worker_error(failure->message);
	log_failure(event, failure, attempts, dead);
	return dead;
}

static void
log_failure(const ConversationMessage *event,
			const WorkerFailure *failure,
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
						failure->message)
				  : errmsg("event %s failed on attempt %d: %s",
						   name,
						   attempts,
						   failure->message),
			 errdetail("SQLSTATE %s.", failure->code)));
}

/* The event's id in quotes, and its correlation id if it has one. */
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

void
worker_postpone(const ConversationMessage *event)
{
	TimestampTz at = GetCurrentTimestamp() + backoff(1);
	Datum values[3];
	bool isnull;

	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	values[2] = TimestampTzGetDatum(at);
	statement_execute(&postpone_event, values, NULL);
	if (SPI_processed == 0)
		triggers_report("event_queue", TRIGGER_TYPE_UPDATE);
	wake_for_retry(at, DatumGetInt16(statement_value(0, 1, &isnull)));
}

/*
 * Returns the microseconds until the next attempt: backoff_base doubled for
 * each further failure, at most backoff_max, times a random factor of 0.5
 * to 1.5 so that events that failed together are not retried together.
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

/*
 * worker/claims.c: claims of external processors.
 *
 * A claim is a row with an expiry. The queue row of its event has
 * next_attempt_at = infinity, so that neither workers nor other processors find
 * it. Ending a claim locks the queue row and deletes the claim before anything
 * else: a processor that has lost its claim finds no row and is refused, so
 * nothing is processed twice.
 *
 * Events of channels with strict_order are claimed, completed and failed under
 * the locks of their lanes, as when a worker applies them: see worker/order.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "channels/channels.h"
#include "conversations/conversations.h"
#include "conversations/merge.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "server/versions.h"
#include "stats/stats.h"
#include "tenancy/placement.h"
#include "wake/lanes.h"
#include "wake/wake.h"
#include "worker/apply.h"
#include "worker/batch.h"
#include "worker/claims.h"
#include "worker/failures.h"
#include "worker/order.h"
#include "worker/search.h"
#include "worker/take.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Maximum number of claims released by one statement. */
#define REAP_SIZE 500

/*
 * Milliseconds until an expired claim that is locked is checked again. Its
 * holder may be renewing or completing it, and may roll back, which wakes
 * nobody.
 */
#define HELD_CLAIM_PAUSE 1000

/* Length limit of processor ids and error codes, in bytes. */
#define MAX_NAME_BYTES 255

static Statement make_claims = {
	.sql = "WITH claimed AS ("
		   "UPDATE msgstore.event_queue q SET next_attempt_at = 'infinity'"
		   " FROM unnest($1, $2) AS d (tenant_id, event_id)"
		   " WHERE q.tenant_id = d.tenant_id AND q.event_id = d.event_id"
		   " RETURNING q.tenant_id, q.event_id)"
		   " INSERT INTO msgstore.event_claims (tenant_id, event_id,"
		   " processor_id, claimed_at, renewed_at, expires_at)"
		   " SELECT tenant_id, event_id, $3, $4, $4, $5 FROM claimed",
	.nargs = 5,
	.argtypes =
		{TEXTARRAYOID, UUIDARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};

static Statement find_claimed = {
	.sql = "SELECT " WORKER_EVENT_COLUMNS " FROM (SELECT DISTINCT id"
		   "  FROM unnest($1) AS given (id)) AS n"
		   " JOIN msgstore.event_claims c ON c.event_id = n.id"
		   " AND c.processor_id = $2 AND ($3 = '' OR c.tenant_id = $3)"
		   " JOIN msgstore.event_log l"
		   " ON l.tenant_id = c.tenant_id AND l.id = c.event_id"
		   " JOIN (SELECT *, ctid AS row FROM msgstore.event_queue) q"
		   " ON q.tenant_id = c.tenant_id AND q.event_id = c.event_id"
		   " ORDER BY l.id",
	.nargs = 3,
	.argtypes = {UUIDARRAYOID, TEXTOID, TEXTOID},
	.table = "event_claims"};

/* The queue's rows first, in their order: an erasure locks them before claims.
 */
static Statement end_claims = {
	.sql = "WITH held AS MATERIALIZED ("
		   "SELECT q.tenant_id, q.event_id"
		   " FROM unnest($1, $2) AS n (tenant_id, event_id)"
		   " JOIN msgstore.event_queue q"
		   " ON q.tenant_id = n.tenant_id AND q.event_id = n.event_id"
		   " ORDER BY q.tenant_id, q.event_id FOR UPDATE OF q)"
		   " DELETE FROM msgstore.event_claims c USING held d"
		   " WHERE c.tenant_id = d.tenant_id AND c.event_id = d.event_id"
		   " AND c.processor_id = $3 RETURNING c.event_id",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID, TEXTOID}};

static Statement find_expired = {
	.sql = "SELECT " EVENT_COLUMNS ", q.lane, q.ctid, c.processor_id"
		   " FROM msgstore.event_claims c"
		   " JOIN msgstore.event_queue q"
		   " ON q.tenant_id = c.tenant_id AND q.event_id = c.event_id"
		   " JOIN msgstore.event_log l"
		   " ON l.tenant_id = c.tenant_id AND l.id = c.event_id"
		   " WHERE c.expires_at <= $1 AND ($2 >> q.lane) & 1 = 1"
		   " AND ($3 = '' OR c.tenant_id = $3)"
		   " AND NOT msgstore._is_elsewhere(c.tenant_id)"
		   " ORDER BY c.expires_at LIMIT $4 FOR UPDATE OF q, c SKIP LOCKED",
	.nargs = 4,
	.argtypes = {TIMESTAMPTZOID, INT8OID, TEXTOID, INT8OID},
	.table = "event_claims"};

static Statement next_expiry = {
	.sql = "SELECT c.expires_at FROM msgstore.event_claims c"
		   " JOIN msgstore.event_queue q"
		   " ON q.tenant_id = c.tenant_id AND q.event_id = c.event_id"
		   " WHERE ($1 >> q.lane) & 1 = 1 ORDER BY c.expires_at LIMIT 1",
	.nargs = 1,
	.argtypes = {INT8OID},
	.table = "event_claims"};

static bool apply(WorkerBatch *batch);
static text *take_text(FunctionCallInfo fcinfo, int place, const char *name);
static ArrayType *take_ids(FunctionCallInfo fcinfo, int place);
static void claim(text *processor_id, int most, WorkerBatch *batch);
static void report_lost_claim(void);
static void make_claims_of(text *processor_id, WorkerBatch *batch);
static void take_over(text *processor_id, ArrayType *ids, WorkerBatch *batch);
static void check_tenants(const WorkerBatch *batch);
static void
find_lost(ArrayType *ids, const WorkerBatch *batch, text *processor_id);
static int compare_id(const void *id, const void *message);
pg_noreturn static void refuse_lost_claim(const pg_uuid_t *id,
										  text *processor_id);
static char *id_text(const pg_uuid_t *id);
static void end_claims_of(text *processor_id, WorkerBatch *batch);
static const pg_uuid_t *
find_missing(const WorkerBatch *batch, const Datum *ids, uint64 n);
static uint64 strict_lanes(const WorkerBatch *batch);
static int reap(TimestampTz due, uint64 lanes);
static bool take_back(WorkerBatch *batch, int i, text *processor_id);

PG_FUNCTION_INFO_V1(msgstore_claim);
PG_FUNCTION_INFO_V1(msgstore_complete);
PG_FUNCTION_INFO_V1(msgstore_fail);
PG_FUNCTION_INFO_V1(msgstore_reap_stale);

/* Returns the tenants and ids of the claimed events, for msgstore.claim(). */
Datum
msgstore_claim(PG_FUNCTION_ARGS)
{
	text *processor_id = take_text(fcinfo, 0, "processor_id");
	int most = PG_ARGISNULL(1) ? 10 : PG_GETARG_INT32(1);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerBatch batch;
	int i;

	if (most < 1)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("max_events %d is not positive", most)));
	PreventCommandIfReadOnly("claim()");
	worker_refuse_in_handler("claim");
	stats_note_outside();
	SPI_connect();
	claim(processor_id, most, &batch);
	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < batch.n; i++)
	{
		bool nulls[2] = {false, false};
		Datum row[2];

		row[0] = PointerGetDatum(batch.messages[i].tenant_id);
		row[1] = UUIDPGetDatum(&batch.messages[i].id);
		tuplestore_putvalues(result->setResult, result->setDesc, row, nulls);
	}
	/* Frees the batch. */
	SPI_finish();
	return (Datum) 0;
}

Datum
msgstore_complete(PG_FUNCTION_ARGS)
{
	text *processor_id = take_text(fcinfo, 0, "processor_id");
	ArrayType *ids = take_ids(fcinfo, 1);
	const ConversationMessage *waiting;
	WorkerBatch batch;

	PreventCommandIfReadOnly("complete()");
	worker_refuse_in_handler("complete");
	SPI_connect();
	take_over(processor_id, ids, &batch);
	waiting = worker_find_waiting(&batch);
	if (waiting != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_CONFLICT),
			 errmsg("event \"%s\" must wait for an earlier event",
					id_text(&waiting->id)),
			 errdetail(
				 "The channel has strict_order: the events of a conversation must be completed in order."),
			 errhint(
				 "Complete it after the earlier event has been processed.")));
	batch.handlers = worker_find_handlers();
	worker_delete_events(&batch, 0, batch.n);
	while (!apply(&batch))
		CHECK_FOR_INTERRUPTS();
	merge_without_worker();
	SPI_finish();
	PG_RETURN_INT32(batch.n);
}

Datum
msgstore_fail(PG_FUNCTION_ARGS)
{
	text *processor_id = take_text(fcinfo, 0, "processor_id");
	WorkerFailure failure = {
		.code = text_to_cstring(take_text(fcinfo, 2, "error_code")),
		.message = PG_ARGISNULL(3) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(3)),
		.processor_id = text_to_cstring(processor_id)};
	WorkerBatch batch;
	Datum id;
	bool dead;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("field \"event_id\" is missing")));
	id = PG_GETARG_DATUM(1);
	failure.permanent = strcmp(failure.code, "MS400") == 0;
	PreventCommandIfReadOnly("fail()");
	worker_refuse_in_handler("fail");
	SPI_connect();
	take_over(processor_id,
			  construct_array(&id, 1, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR),
			  &batch);
	dead = worker_keep_failure(&batch.messages[0], &failure);
	batch.has_lines = true;
	worker_open_line(&batch, 0, dead);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(dead ? "dead_letter" : "error"));
}

Datum
msgstore_reap_stale(PG_FUNCTION_ARGS)
{
	TimestampTz due = GetCurrentTimestamp();
	int total = 0;
	int reaped;

	(void) fcinfo;
	PreventCommandIfReadOnly("reap_stale()");
	worker_refuse_in_handler("reap_stale");
	placement_check_scope();
	/* Workers skip the lanes held here; wake them when these are released. */
	wake_at_commit();
	do
	{
		SPI_connect();
		reaped = reap(due, LANES_ALL);
		SPI_finish();
		total += reaped;
	} while (reaped > 0);
	PG_RETURN_INT32(total);
}

/*
 * Returns false if it must start over: it has released the conversations that
 * it had locked, because another session created one of them meanwhile.
 */
static bool
apply(WorkerBatch *batch)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool applied = true;

	if (batch->n == 1)
	{
		worker_apply(batch, 0, 1, true);
		return true;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		worker_apply(batch, 0, batch->n, true);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (!conversations_were_overtaken(error))
			ReThrowError(error);
		applied = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return applied;
}

static text *
take_text(FunctionCallInfo fcinfo, int place, const char *name)
{
	text *given = PG_ARGISNULL(place) ? NULL : PG_GETARG_TEXT_PP(place);
	char *s = given == NULL ? "" : text_to_cstring(given);

	if (s[strspn(s, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("field \"%s\" is blank", name)));
	if (strlen(s) > MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("field \"%s\" of %zu bytes exceeds the limit of %d "
						"bytes",
						name,
						strlen(s),
						MAX_NAME_BYTES)));
	return given;
}

static ArrayType *
take_ids(FunctionCallInfo fcinfo, int place)
{
	ArrayType *ids;

	if (PG_ARGISNULL(place))
		return construct_empty_array(UUIDOID);
	ids = PG_GETARG_ARRAYTYPE_P(place);
	if (ARR_NDIM(ids) > 1 || array_contains_nulls(ids))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("field \"event_ids\" is not a list of event ids"),
				 errdetail("The field must be a one-dimensional array without "
						   "nulls.")));
	return ids;
}

/*
 * Lanes are locked only if a channel has strict_order. Events of other channels
 * can be claimed while a worker processes events of the same lane.
 */
static void
claim(text *processor_id, int most, WorkerBatch *batch)
{
	bool ordered = channels_any_strict();
	WorkerSearch *search = worker_search_all(true);
	uint64 used = 0;
	TimestampTz now;
	int claimed;

	/* Workers skip the rows locked here; a rollback must wake them. */
	wake_at_abort();
	(void) reap(GetCurrentTimestamp(), LANES_ALL);
	if (ordered)
	{
		wake_at_commit();
		search->lanes = lanes_take(LANES_ALL);
	}
	/* After reap(): claims that were just released are due. */
	now = GetCurrentTimestamp();
	do
	{
		worker_claim(most, now, search, batch);
		claimed = batch->n;
		used |= strict_lanes(batch);
		worker_hold_back(batch);
		/* If all events had to wait, look for others. */
	} while (claimed > 0 && batch->n == 0);
	if (ordered)
		lanes_give(search->lanes & ~used);
	if (batch->n > 0)
		make_claims_of(processor_id, batch);
	stats_count(STATS_WORKER_CLAIMED, batch->n);
}

static void
make_claims_of(text *processor_id, WorkerBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz expiry =
		TimestampTzPlusMilliseconds(now, msgstore_claim_timeout);
	Datum values[5];
	int i;

	worker_keys(batch, 0, batch->n, &values[0], &values[1]);
	values[2] = PointerGetDatum(processor_id);
	values[3] = TimestampTzGetDatum(now);
	values[4] = TimestampTzGetDatum(expiry);
	statement_execute(&make_claims, values, NULL);
	if (SPI_processed != (uint64) batch->n)
		report_lost_claim();
	for (i = 0; i < batch->n; i++)
		worker_open_line(batch, i, false);
	wake_for_claim(expiry);
}

/* The rows were locked, so only a trigger can keep them from being written. */
static void
report_lost_claim(void)
{
	if (triggers_may_alter("event_queue", TRIGGER_TYPE_UPDATE))
		triggers_report("event_queue", TRIGGER_TYPE_UPDATE);
	triggers_report("event_claims", TRIGGER_TYPE_INSERT);
}

/*
 * Reads the events into the batch and ends their claims. Raises MS409 unless
 * the processor holds all of the claims.
 */
static void
take_over(text *processor_id, ArrayType *ids, WorkerBatch *batch)
{
	Datum values[3];

	values[0] = PointerGetDatum(ids);
	values[1] = PointerGetDatum(processor_id);
	values[2] = CStringGetTextDatum(msgstore_tenant_id);
	statement_execute(&find_claimed, values, NULL);
	worker_make_batch(batch);
	worker_read_events(batch);
	check_tenants(batch);
	find_lost(ids, batch, processor_id);
	if (strict_lanes(batch) != 0)
	{
		/* Workers skip the lanes held here. */
		wake_at_commit();
		wake_at_abort();
		lanes_wait_for(strict_lanes(batch));
	}
	end_claims_of(processor_id, batch);
}

static void
check_tenants(const WorkerBatch *batch)
{
	int i;

	placement_check_scope();
	if (!placement_any_elsewhere())
		return;
	for (i = 0; i < batch->n; i++)
		placement_check(text_to_cstring(batch->messages[i].tenant_id));
}

/* Raises MS409 for the first id that is not in the batch. */
static void
find_lost(ArrayType *ids, const WorkerBatch *batch, text *processor_id)
{
	Datum *given;
	int n;
	int i;

	deconstruct_array(ids,
					  UUIDOID,
					  UUID_LEN,
					  false,
					  TYPALIGN_CHAR,
					  &given,
					  NULL,
					  &n);
	for (i = 0; i < n; i++)
	{
		const pg_uuid_t *id = DatumGetUUIDP(given[i]);

		if (bsearch(id,
					batch->messages,
					batch->n,
					sizeof(ConversationMessage),
					compare_id) == NULL)
			refuse_lost_claim(id, processor_id);
	}
}

/* For bsearch(): compares an id with that of a message. */
static int
compare_id(const void *id, const void *message)
{
	return memcmp(id, &((const ConversationMessage *) message)->id, UUID_LEN);
}

static void
refuse_lost_claim(const pg_uuid_t *id, text *processor_id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_CONFLICT),
		 errmsg("event \"%s\" is not claimed by processor \"%s\"",
				id_text(id),
				text_to_cstring(processor_id)),
		 errdetail(
			 "The event was never claimed, is completed or failed already, or its claim expired.")));
}

static char *
id_text(const pg_uuid_t *id)
{
	return DatumGetCString(
		DirectFunctionCall1(uuid_out, UUIDPGetDatum((pg_uuid_t *) id)));
}

/* Raises MS409 if a claim was lost since take_over() found it. */
static void
end_claims_of(text *processor_id, WorkerBatch *batch)
{
	Datum *ended;
	Datum values[3];
	bool isnull;
	uint64 row;

	if (batch->n == 0)
		return;
	worker_keys(batch, 0, batch->n, &values[0], &values[1]);
	values[2] = PointerGetDatum(processor_id);
	statement_execute(&end_claims, values, NULL);
	if (SPI_processed == (uint64) batch->n)
		return;
	ended = palloc(sizeof(Datum) * (SPI_processed + 1));
	for (row = 0; row < SPI_processed; row++)
		ended[row] = statement_value(row, 1, &isnull);
	refuse_lost_claim(find_missing(batch, ended, SPI_processed), processor_id);
}

/* Returns the first event of the batch that is not among these ids. */
static const pg_uuid_t *
find_missing(const WorkerBatch *batch, const Datum *ids, uint64 n)
{
	int i;
	uint64 k;

	for (i = 0; i < batch->n; i++)
	{
		const pg_uuid_t *id = &batch->messages[i].id;

		for (k = 0; k < n; k++)
		{
			if (memcmp(DatumGetUUIDP(ids[k]), id, UUID_LEN) == 0)
				break;
		}
		if (k == n)
			return id;
	}
	pg_unreachable();
}

static uint64
strict_lanes(const WorkerBatch *batch)
{
	uint64 lanes = 0;
	int i;

	for (i = 0; i < batch->n; i++)
	{
		if (batch->strict[i])
			lanes |= UINT64CONST(1) << batch->lane[i];
	}
	return lanes;
}

TimestampTz
worker_reap_claims(TimestampTz due, uint64 lanes)
{
	TimestampTz expiry;
	Datum values[1];
	bool isnull;

	if (reap(due, lanes) >= REAP_SIZE)
		return due;
	values[0] = Int64GetDatum((int64) lanes);
	statement_execute(&next_expiry, values, NULL);
	if (SPI_processed == 0)
		return DT_NOEND;
	expiry = DatumGetTimestampTz(statement_value(0, 1, &isnull));
	if (expiry > due)
		return expiry;
	return TimestampTzPlusMilliseconds(due, HELD_CLAIM_PAUSE);
}

/* Releases up to REAP_SIZE expired claims. Returns how many. */
static int
reap(TimestampTz due, uint64 lanes)
{
	WorkerBatch batch;
	text **processors;
	Datum values[4];
	bool isnull;
	uint64 row;
	int taken = 0;
	int i;

	wake_at_abort();
	values[0] = TimestampTzGetDatum(due);
	values[1] = Int64GetDatum((int64) lanes);
	values[2] = CStringGetTextDatum(msgstore_tenant_id);
	values[3] = Int64GetDatum(REAP_SIZE);
	statement_execute(&find_expired, values, NULL);
	worker_make_batch(&batch);
	worker_read_events(&batch);
	processors = palloc(sizeof(text *) * Max(SPI_processed, 1));
	for (row = 0; row < SPI_processed; row++)
		processors[row] = DatumGetTextPCopy(
			statement_value(row, WORKER_EVENT_NCOLUMNS + 1, &isnull));
	for (i = 0; i < batch.n; i++)
		taken += take_back(&batch, i, processors[i]);
	return taken;
}

/*
 * Releases one expired claim. It counts as a failed attempt, so that an event
 * that crashes its processors becomes a dead letter in the end; until then it
 * is due at once. Returns false and keeps the claim if its channel has
 * strict_order and the lane is locked; the end of that transaction wakes the
 * workers.
 */
static bool
take_back(WorkerBatch *batch, int i, text *processor_id)
{
	uint64 lane = UINT64CONST(1) << batch->lane[i];
	WorkerFailure failure = {
		.code = "MS504",
		.message =
			psprintf("claim of processor \"%s\" expired without a heartbeat",
					 text_to_cstring(processor_id)),
		.processor_id = text_to_cstring(processor_id),
		.at_once = true};
	Datum values[3];
	bool dead;

	if (batch->strict[i] && lanes_take(lane) == 0)
		return false;
	worker_keys(batch, i, 1, &values[0], &values[1]);
	values[2] = PointerGetDatum(processor_id);
	statement_execute(&end_claims, values, NULL);
	dead = worker_keep_failure(&batch->messages[i], &failure);
	batch->has_lines = true;
	worker_open_line(batch, i, dead);
	return true;
}

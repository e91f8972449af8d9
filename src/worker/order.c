/*
 * worker/order.c: keeps the order of conversations in strict_order channels.
 *
 * In a channel with strict_order, an event that failed or is claimed by an
 * external processor opens a line, the waiting queue of its conversation: this
 * event and the later ones have rows in conversation_holds, and the later ones
 * have next_attempt_at = infinity. When the first event leaves the queue, all
 * others become due at once and are processed in the order of their ids. Lines
 * change only under the lock of the conversation's lane, so that no event joins
 * a line that is just being released.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "server/statement.h"
#include "server/triggers.h"
#include "wake/lanes.h"
#include "wake/wake.h"
#include "worker/order.h"

static Statement any_line = {
	.sql = "SELECT FROM msgstore.conversation_holds LIMIT 1",
	.table = "conversation_holds"};

/* For each conversation, the first event of its line outside this batch. */
static Statement find_lines = {
	.sql =
		"SELECT n.ordinal, (SELECT h.event_id"
		"  FROM msgstore.conversation_holds h"
		"  WHERE h.tenant_id = n.tenant_id AND h.conversation_key = n.key"
		"  AND h.event_id <> ALL ($3) ORDER BY h.event_id LIMIT 1)"
		" FROM unnest($1, $2) WITH ORDINALITY AS n (tenant_id, key, ordinal)",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, TEXTARRAYOID, UUIDARRAYOID},
	.table = "conversation_holds"};

static Statement enter_line = {
	.sql = "INSERT INTO msgstore.conversation_holds"
		   " (tenant_id, conversation_key, event_id) VALUES ($1, $2, $3)"
		   " ON CONFLICT DO NOTHING",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, UUIDOID}};

static Statement find_in_line = {
	.sql = "SELECT FROM msgstore.conversation_holds WHERE tenant_id = $1"
		   " AND conversation_key = $2 AND event_id = $3",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, UUIDOID},
	.table = "conversation_holds"};

static Statement wait_in_queue = {
	.sql = "UPDATE msgstore.event_queue SET next_attempt_at = 'infinity'"
		   " WHERE tenant_id = $1 AND event_id = $2",
	.nargs = 2,
	.argtypes = {TEXTOID, UUIDOID}};

static Statement leave_line = {
	.sql = "WITH gone AS ("
		   "DELETE FROM msgstore.conversation_holds h"
		   " USING unnest($1, $2) AS d (tenant_id, event_id)"
		   " WHERE h.tenant_id = d.tenant_id AND h.event_id = d.event_id"
		   " RETURNING h.tenant_id, h.conversation_key)"
		   " UPDATE msgstore.event_queue q SET next_attempt_at = $3"
		   " FROM (SELECT DISTINCT tenant_id, conversation_key FROM gone) g"
		   " JOIN msgstore.conversation_holds h ON h.tenant_id = g.tenant_id"
		   " AND h.conversation_key = g.conversation_key"
		   " WHERE q.tenant_id = h.tenant_id AND q.event_id = h.event_id"
		   " AND q.next_attempt_at = 'infinity'"
		   " AND NOT EXISTS (SELECT FROM msgstore.event_claims c"
		   "  WHERE c.tenant_id = q.tenant_id AND c.event_id = q.event_id)"
		   " RETURNING q.lane",
	.nargs = 3,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID, TIMESTAMPTZOID},
	.table = "conversation_holds"};

typedef struct Event
{
	ConversationMessage message;
	TimestampTz accepted_at;
	ItemPointerData row;
	int16 lane;
	bool strict;
} Event;

static void look_for_lines(WorkerBatch *batch);
static void put_in_order(WorkerBatch *batch);
static void check_in_line(Datum *values);
static int compare_events(const void *a, const void *b);
static bool *find_waiting(WorkerBatch *batch);

PG_FUNCTION_INFO_V1(msgstore_wait_for_lanes);

/*
 * For erasures. Workers skip the lanes held here, so they are woken when these
 * are released.
 */
Datum
msgstore_wait_for_lanes(PG_FUNCTION_ARGS)
{
	Datum *given;
	uint64 lanes = 0;
	int n;
	int i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0),
					  INT2OID,
					  sizeof(int16),
					  true,
					  TYPALIGN_SHORT,
					  &given,
					  NULL,
					  &n);
	for (i = 0; i < n; i++)
		lanes |= UINT64CONST(1) << (DatumGetInt16(given[i]) % LANES);
	wake_at_commit();
	wake_at_abort();
	lanes_wait_for(lanes);
	PG_RETURN_VOID();
}

void
worker_hold_back(WorkerBatch *batch)
{
	bool *waiting;
	int kept = 0;
	int i;

	look_for_lines(batch);
	if (!batch->has_lines)
		return;
	put_in_order(batch);
	waiting = find_waiting(batch);
	for (i = 0; waiting != NULL && i < batch->n; i++)
	{
		if (waiting[i])
			worker_stand_in_line(batch, i);
		else
			worker_move_event(batch, i, kept++);
	}
	if (waiting == NULL)
		return;
	batch->n = kept;
	memset(batch->blocked, 0, sizeof(bool) * kept);
}

const ConversationMessage *
worker_find_waiting(WorkerBatch *batch)
{
	bool *waiting;
	int i;

	look_for_lines(batch);
	waiting = batch->has_lines ? find_waiting(batch) : NULL;
	for (i = 0; waiting != NULL && i < batch->n; i++)
	{
		if (waiting[i])
			return &batch->messages[i];
	}
	return NULL;
}

/*
 * Any event may be in a line: strict_order may have been turned off since, or
 * the channel changed to another thread or deleted.
 */
static void
look_for_lines(WorkerBatch *batch)
{
	if (batch->n == 0)
		return;
	statement_execute(&any_line, NULL, NULL);
	batch->has_lines = SPI_processed > 0;
}

/*
 * The batch is in the order of due times, which for events that failed, or
 * whose claims expired, is not the order of their ids.
 */
static void
put_in_order(WorkerBatch *batch)
{
	Event *events = palloc(sizeof(Event) * batch->n);
	int i;

	for (i = 0; i < batch->n; i++)
		events[i] = (Event){.message = batch->messages[i],
							.accepted_at = batch->accepted_at[i],
							.row = batch->row[i],
							.lane = batch->lane[i],
							.strict = batch->strict[i]};
	qsort(events, batch->n, sizeof(Event), compare_events);
	for (i = 0; i < batch->n; i++)
	{
		batch->messages[i] = events[i].message;
		batch->accepted_at[i] = events[i].accepted_at;
		batch->row[i] = events[i].row;
		batch->lane[i] = events[i].lane;
		batch->strict[i] = events[i].strict;
	}
	pfree(events);
}

static int
compare_events(const void *a, const void *b)
{
	return memcmp(&((const Event *) a)->message.id,
				  &((const Event *) b)->message.id,
				  sizeof(pg_uuid_t));
}

/* Returns a flag for each event that must wait, or NULL if none can. */
static bool *
find_waiting(WorkerBatch *batch)
{
	Datum *columns = palloc(sizeof(Datum) * 3 * Max(batch->n, 1));
	int *places = palloc(sizeof(int) * Max(batch->n, 1));
	bool *waiting = palloc0(sizeof(bool) * Max(batch->n, 1));
	Datum values[3];
	bool isnull;
	uint64 row;
	int n = 0;
	int i;

	for (i = 0; i < batch->n; i++)
	{
		if (batch->strict[i])
			places[n++] = i;
	}
	if (n == 0)
		return NULL;
	for (i = 0; i < n; i++)
	{
		ConversationMessage *message = &batch->messages[places[i]];

		columns[i] = PointerGetDatum(message->tenant_id);
		columns[n + i] = PointerGetDatum(message->conversation_key);
		columns[2 * n + i] = UUIDPGetDatum(&message->id);
	}
	values[0] = statement_array(TEXTOID, columns, NULL, n);
	values[1] = statement_array(TEXTOID, columns + n, NULL, n);
	values[2] = statement_array(UUIDOID, columns + 2 * n, NULL, n);
	statement_execute(&find_lines, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		int place = places[DatumGetInt64(statement_value(row, 1, &isnull)) - 1];
		Datum first = statement_value(row, 2, &isnull);

		waiting[place] = !isnull && memcmp(DatumGetUUIDP(first),
										   &batch->messages[place].id,
										   sizeof(pg_uuid_t)) < 0;
	}
	return waiting;
}

void
worker_open_line(WorkerBatch *batch, int i, bool dead)
{
	ConversationMessage *event = &batch->messages[i];
	Datum values[3];
	Datum tenant = PointerGetDatum(event->tenant_id);
	Datum id = UUIDPGetDatum(&event->id);

	if (dead && batch->has_lines)
		worker_leave_line(statement_array(TEXTOID, &tenant, NULL, 1),
						  statement_array(UUIDOID, &id, NULL, 1));
	if (dead || !batch->strict[i])
		return;
	batch->blocked[i] = true;
	batch->has_lines = true;
	values[0] = tenant;
	values[1] = PointerGetDatum(event->conversation_key);
	values[2] = id;
	statement_execute(&enter_line, values, NULL);
	/* The event may be in the line already. */
	if (SPI_processed == 0 &&
		triggers_may_alter("conversation_holds", TRIGGER_TYPE_INSERT))
		check_in_line(values);
}

/* Takes the arguments of enter_line. */
static void
check_in_line(Datum *values)
{
	statement_execute(&find_in_line, values, NULL);
	if (SPI_processed == 0)
		triggers_report("conversation_holds", TRIGGER_TYPE_INSERT);
}

void
worker_stand_in_line(WorkerBatch *batch, int i)
{
	ConversationMessage *event = &batch->messages[i];
	Datum values[2];

	worker_open_line(batch, i, false);
	values[0] = PointerGetDatum(event->tenant_id);
	values[1] = UUIDPGetDatum(&event->id);
	statement_execute(&wait_in_queue, values, NULL);
	if (SPI_processed == 0)
		triggers_report("event_queue", TRIGGER_TYPE_UPDATE);
}

void
worker_leave_line(Datum tenants, Datum ids)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum values[3];
	bool isnull;
	uint64 row;

	values[0] = tenants;
	values[1] = ids;
	values[2] = TimestampTzGetDatum(now);
	statement_execute(&leave_line, values, NULL);
	for (row = 0; row < SPI_processed; row++)
		wake_for_retry(now, DatumGetInt16(statement_value(row, 1, &isnull)));
}

/*
 * inbox/insert.c: inserts events into the log and the queue without a
 * statement.
 *
 * The overhead of a statement is more than half of the time of an ingest()
 * that stores a single event. See server/row_insert.c for how this works and
 * when it cannot be used; inbox.c then falls back to a statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "inbox/guard.h"
#include "inbox/insert.h"
#include "server/row_insert.h"
#include "server/settings.h"
#include "wake/lanes.h"

/* The columns of event_log, in the order of sql/20_inbox.sql. */
enum
{
	LOG_TENANT_ID,
	LOG_ID,
	LOG_CHANNEL,
	LOG_FROM,
	LOG_TO,
	LOG_PROVIDER_MESSAGE_ID,
	LOG_IDENTITY,
	LOG_CORRELATION_ID,
	LOG_CREATED_AT,
	LOG_PAYLOAD,
	LOG_COLUMNS
};

/* The columns of event_queue. */
enum
{
	QUEUE_TENANT_ID,
	QUEUE_EVENT_ID,
	QUEUE_NEXT_ATTEMPT_AT,
	QUEUE_LANE,
	QUEUE_COLUMNS
};

/* What the rows are made of. */
typedef struct NewEvents
{
	text *tenant_id;
	InboxItem **items;
} NewEvents;

static void
insert_fresh(RowTarget *log, RowTarget *queue, InboxItem **items, int n);
static void read_log_row(const void *rows, int i, Datum *values, bool *nulls);
static void read_queue_row(const void *rows, int i, Datum *values, bool *nulls);

/* Locks the queue before the log, in the same order as the worker. */
bool
inbox_insert(InboxItem **items, int n)
{
	InboxItem *fresh[INBOX_GUARDED_MOST];
	InboxGuard guard;
	RowTarget queue;
	RowTarget log;
	int i;

	if (!row_target_open(&queue, "event_queue", QUEUE_COLUMNS, false))
		return false;
	if (!row_target_open(&log, "event_log", LOG_COLUMNS, false))
	{
		row_target_close(&queue);
		return false;
	}
	inbox_guard_open(&guard, log.table->ri_RelationDesc);
	for (i = 0; i < n; i += INBOX_GUARDED_MOST)
	{
		int nfresh = inbox_guard_take(&guard,
									  items + i,
									  Min(n - i, INBOX_GUARDED_MOST),
									  fresh);

		insert_fresh(&log, &queue, fresh, nfresh);
		inbox_guard_release(&guard);
	}
	inbox_guard_close(&guard);
	row_target_close(&log);
	row_target_close(&queue);
	return true;
}

static void
insert_fresh(RowTarget *log, RowTarget *queue, InboxItem **items, int n)
{
	NewEvents events = {.tenant_id = cstring_to_text(msgstore_tenant_id),
						.items = items};
	int i;

	for (i = 0; i < n; i++)
	{
		InboxItem *item = items[i];

		item->lane = lanes_of_event(events.tenant_id,
									item->channel,
									item->from,
									item->to);
		item->stored = true;
	}
	row_insert_many(log, read_log_row, &events, n);
	row_insert_many(queue, read_queue_row, &events, n);
}

static void
read_log_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const NewEvents *events = rows;
	const InboxItem *item = events->items[i];

	memset(nulls, false, sizeof(bool) * LOG_COLUMNS);
	values[LOG_TENANT_ID] = PointerGetDatum(events->tenant_id);
	values[LOG_ID] = UUIDPGetDatum(&item->id);
	values[LOG_CHANNEL] = CStringGetTextDatum(item->channel);
	values[LOG_FROM] = PointerGetDatum(item->from);
	values[LOG_TO] = PointerGetDatum(item->to);
	values[LOG_PROVIDER_MESSAGE_ID] =
		PointerGetDatum(item->provider_message_id);
	nulls[LOG_PROVIDER_MESSAGE_ID] = item->provider_message_id == NULL;
	values[LOG_IDENTITY] = PointerGetDatum(item->identity);
	nulls[LOG_CORRELATION_ID] = item->correlation_id == NULL;
	if (item->correlation_id != NULL)
		values[LOG_CORRELATION_ID] = CStringGetTextDatum(item->correlation_id);
	values[LOG_CREATED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[LOG_PAYLOAD] = JsonbPGetDatum(item->payload);
}

static void
read_queue_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const NewEvents *events = rows;
	const InboxItem *item = events->items[i];

	memset(nulls, false, sizeof(bool) * QUEUE_COLUMNS);
	values[QUEUE_TENANT_ID] = PointerGetDatum(events->tenant_id);
	values[QUEUE_EVENT_ID] = UUIDPGetDatum(&item->id);
	nulls[QUEUE_NEXT_ATTEMPT_AT] = true;
	values[QUEUE_LANE] = Int16GetDatum(item->lane);
}

/*
 * inbox_insert.c: puts events into the log and the queue without a statement.
 *
 * What a statement costs beside its rows is more than half of a single event's
 * time, and ingest() is called for each of them. See row_insert.c for how, and
 * when not; inbox.c has the statement for that.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "inbox_insert.h"
#include "msgstore.h"
#include "row_insert.h"
#include "worker_lanes.h"

/* The columns of event_log, in the order of sql/20_inbox.sql. */
enum
{
	LOG_TENANT_ID,
	LOG_ID,
	LOG_CHANNEL,
	LOG_FROM,
	LOG_TO,
	LOG_PROVIDER_MESSAGE_ID,
	LOG_CORRELATION_ID,
	LOG_CREATED_AT,
	LOG_PAYLOAD,
	LOG_COLUMNS
};

/* And those of event_queue. */
enum
{
	QUEUE_TENANT_ID,
	QUEUE_EVENT_ID,
	QUEUE_NEXT_ATTEMPT_AT,
	QUEUE_LANE,
	QUEUE_COLUMNS
};

static bool add_to_log(RowTarget *log, Datum tenant, const InboxItem *item);
static void add_to_queue(RowTarget *queue, Datum tenant, const InboxItem *item);

bool
inbox_insert(InboxItem **items, int n)
{
	Datum tenant = CStringGetTextDatum(msgstore_tenant_id);
	RowTarget queue;
	RowTarget log;
	int i;

	if (!row_target_open(&queue, "event_queue", QUEUE_COLUMNS))
		return false;
	if (!row_target_open(&log, "event_log", LOG_COLUMNS))
	{
		row_target_close(&queue);
		return false;
	}
	for (i = 0; i < n; i++)
	{
		InboxItem *item = items[i];

		item->stored = add_to_log(&log, tenant, item);
		if (item->stored)
		{
			item->lane = worker_lane_of(DatumGetTextPP(tenant),
										item->channel,
										item->from,
										item->to);
			add_to_queue(&queue, tenant, item);
		}
	}
	row_target_close(&log);
	row_target_close(&queue);
	return true;
}

/* False: the provider's id is known. Nulls are not looked for. */
static bool
add_to_log(RowTarget *log, Datum tenant, const InboxItem *item)
{
	Datum values[LOG_COLUMNS];
	bool nulls[LOG_COLUMNS] = {false};
	Relation key;

	values[LOG_TENANT_ID] = tenant;
	values[LOG_ID] = UUIDPGetDatum(&item->id);
	values[LOG_CHANNEL] = CStringGetTextDatum(item->channel);
	values[LOG_FROM] = PointerGetDatum(item->from);
	values[LOG_TO] = PointerGetDatum(item->to);
	values[LOG_PROVIDER_MESSAGE_ID] =
		PointerGetDatum(item->provider_message_id);
	nulls[LOG_PROVIDER_MESSAGE_ID] = item->provider_message_id == NULL;
	nulls[LOG_CORRELATION_ID] = item->correlation_id == NULL;
	if (item->correlation_id != NULL)
		values[LOG_CORRELATION_ID] = CStringGetTextDatum(item->correlation_id);
	values[LOG_CREATED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[LOG_PAYLOAD] = JsonbPGetDatum(item->payload);
	if (item->provider_message_id == NULL)
	{
		row_insert(log, values, nulls);
		return true;
	}
	key = row_target_index(log, "event_log_provider_message_key");
	return row_insert_new(log,
						  values,
						  nulls,
						  list_make1_oid(RelationGetRelid(key)));
}

static void
add_to_queue(RowTarget *queue, Datum tenant, const InboxItem *item)
{
	Datum values[QUEUE_COLUMNS];
	bool nulls[QUEUE_COLUMNS] = {false};

	values[QUEUE_TENANT_ID] = tenant;
	values[QUEUE_EVENT_ID] = UUIDPGetDatum(&item->id);
	nulls[QUEUE_NEXT_ATTEMPT_AT] = true;
	values[QUEUE_LANE] = Int16GetDatum(item->lane);
	row_insert(queue, values, nulls);
}

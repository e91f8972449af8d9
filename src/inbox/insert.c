/*
 * inbox/insert.c: inserts events into the log and the queue.
 *
 * The overhead of a statement is more than half of the time of an ingest()
 * that stores a single event. So none is used, unless server/row_insert.c
 * refuses one of the tables.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "inbox/guard.h"
#include "inbox/insert.h"
#include "inbox/log.h"
#include "inbox/uuid7.h"
#include "server/row_statement.h"
#include "server/settings.h"
#include "server/tables.h"
#include "server/triggers.h"
#include "wake/lanes.h"

/* The columns of event_queue. */
enum
{
	QUEUE_TENANT_ID,
	QUEUE_EVENT_ID,
	QUEUE_NEXT_ATTEMPT_AT,
	QUEUE_LANE,
	QUEUE_COLUMNS
};

#define UNIQUE_KEY "event_log_provider_message_key"

/* What the rows are made of. */
typedef struct NewEvents
{
	text *tenant_id;
	InboxItem **items;
} NewEvents;

static bool insert_directly(InboxItem **items, int n);
static void insert_rows(RowTarget *log,
						RowTarget *queue,
						InboxGuard *guard,
						InboxItem **items,
						int n);
static void
insert_key(RowTarget *log, Relation key, const NewEvents *events, int i);
static int compare_ids(const void *a, const void *b);
static void mark_stored(const text *tenant_id, InboxItem *item);
static void insert_guarded(InboxItem **items, int n);
static void insert_by_statement(InboxGuard *guard, InboxItem **items, int n);
static void read_log_row(const void *rows, int i, Datum *values, bool *nulls);
static void read_queue_row(const void *rows, int i, Datum *values, bool *nulls);

/* Locks the queue before the log, in the same order as the worker. */
void
inbox_insert(InboxItem **items, int n)
{
	if (!insert_directly(items, n))
		insert_guarded(items, n);
}

static bool
insert_directly(InboxItem **items, int n)
{
	InboxGuard guard;
	RowTarget queue;
	RowTarget log;

	if (!row_target_open(&queue, "event_queue", QUEUE_COLUMNS, false))
		return false;
	if (!row_target_open(&log, "event_log", LOG_COLUMNS, false))
	{
		row_target_close(&queue);
		return false;
	}
	inbox_guard_open(&guard,
					 log.table->ri_RelationDesc,
					 row_target_index(&log, UNIQUE_KEY));
	insert_rows(&log, &queue, &guard, items, n);
	inbox_guard_close(&guard);
	row_target_close(&log);
	row_target_close(&queue);
	return true;
}

/*
 * Only the key of the provider's message id must be written under the guard,
 * which takes the items in the order of that key. The others begin with the
 * time: written in their order, each page of them gets full. Otherwise pages
 * would be split in half, for 25 bytes of WAL more per event.
 */
static void
insert_rows(RowTarget *log,
			RowTarget *queue,
			InboxGuard *guard,
			InboxItem **items,
			int n)
{
	NewEvents events = {.tenant_id = cstring_to_text(msgstore_tenant_id),
						.items = palloc(sizeof(InboxItem *) * n)};
	Relation key = n > 1 ? row_target_index(log, LOG_PRIMARY_KEY) : NULL;
	ItemPointerData places[INBOX_GUARDED_MOST];
	int nfresh = 0;
	int i;

	for (i = 0; i < n; i += INBOX_GUARDED_MOST)
	{
		NewEvents taken = {.tenant_id = events.tenant_id,
						   .items = events.items + nfresh};
		int ntaken = inbox_guard_take(guard,
									  items + i,
									  Min(n - i, INBOX_GUARDED_MOST),
									  taken.items);
		int k;

		for (k = 0; k < ntaken; k++)
			mark_stored(events.tenant_id, taken.items[k]);
		qsort(taken.items, ntaken, sizeof(InboxItem *), compare_ids);
		row_insert_most(log, read_log_row, &taken, ntaken, key, places);
		inbox_guard_release(guard);
		for (k = 0; k < ntaken; k++)
			taken.items[k]->place = places[k];
		nfresh += ntaken;
	}
	qsort(events.items, nfresh, sizeof(InboxItem *), compare_ids);
	for (i = 0; key != NULL && i < nfresh; i++)
		insert_key(log, key, &events, i);
	row_insert_many(queue, read_queue_row, &events, nfresh);
}

static void
insert_key(RowTarget *log, Relation key, const NewEvents *events, int i)
{
	bool nulls[LOG_COLUMNS];
	Datum values[LOG_COLUMNS];

	memset(nulls, true, sizeof(nulls));
	nulls[LOG_TENANT_ID] = false;
	values[LOG_TENANT_ID] = PointerGetDatum(events->tenant_id);
	nulls[LOG_ID] = false;
	values[LOG_ID] = UUIDPGetDatum(&events->items[i]->id);
	row_insert_later(log, values, nulls, key, &events->items[i]->place);
}

static int
compare_ids(const void *a, const void *b)
{
	const InboxItem *left = *(InboxItem *const *) a;
	const InboxItem *right = *(InboxItem *const *) b;

	return memcmp(&left->id, &right->id, sizeof(pg_uuid_t));
}

static void
mark_stored(const text *tenant_id, InboxItem *item)
{
	item->lane = lanes_of_event(tenant_id, item->channel, item->from, item->to);
	item->stored = true;
}

/* With the lock that keeps out sessions that insert without a statement. */
static void
insert_guarded(InboxItem **items, int n)
{
	Relation queue = tables_open("event_queue", RowExclusiveLock);
	Relation log = tables_open_rows("event_log", RowExclusiveLock);
	Relation index =
		index_open(get_relname_relid(UNIQUE_KEY, RelationGetNamespace(log)),
				   AccessShareLock);
	InboxItem *fresh[INBOX_GUARDED_MOST];
	InboxGuard guard;
	int i;

	inbox_guard_open(&guard, log, index);
	for (i = 0; i < n; i += INBOX_GUARDED_MOST)
	{
		int nfresh = inbox_guard_take(&guard,
									  items + i,
									  Min(n - i, INBOX_GUARDED_MOST),
									  fresh);

		if (nfresh > 0)
			insert_by_statement(&guard, fresh, nfresh);
		inbox_guard_release(&guard);
	}
	inbox_guard_close(&guard);
	index_close(index, NoLock);
	table_close(log, NoLock);
	table_close(queue, NoLock);
}

/*
 * An event that is not stored exists if a writer that does not come through the
 * guard has stored it in the meantime. If it does not, a trigger suppressed it.
 */
static void
insert_by_statement(InboxGuard *guard, InboxItem **items, int n)
{
	NewEvents events = {.tenant_id = cstring_to_text(msgstore_tenant_id),
						.items = items};
	bool *stored = palloc(sizeof(bool) * n);
	int kept = 0;
	int i;

	row_insert_by_statement("event_log",
							LOG_COLUMNS,
							"tenant_id, channel, provider_message_id, identity",
							read_log_row,
							&events,
							n,
							stored);
	for (i = 0; i < n; i++)
	{
		if (stored[i])
		{
			mark_stored(events.tenant_id, items[i]);
			items[kept++] = items[i];
		}
		else if (!inbox_guard_finds(guard, items[i]))
			triggers_report("event_log", TRIGGER_TYPE_INSERT);
	}
	row_insert_by_statement("event_queue",
							QUEUE_COLUMNS,
							NULL,
							read_queue_row,
							&events,
							kept,
							NULL);
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
		TimestampTzGetDatum(inbox_time_of_uuid7(&item->id));
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

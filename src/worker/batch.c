/*
 * worker/batch.c: a batch of events that were read from the queue.
 *
 * Its arrays have an element for each event. What is done with a batch is in
 * other files: search.c reads it, order.c takes out the events that must wait,
 * take.c takes the rest out of the queue and apply.c makes messages of them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "address/address.h"
#include "channels/channels.h"
#include "conversations/event.h"
#include "server/statement.h"
#include "worker/batch.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Arrays grow from this number of elements on, by doubling. */
#define LEAST_SIZE 64

static void make_room(WorkerBatch *batch, int n);
static void *grow(void *array, int n, int size, Size element);
static void read_event(WorkerBatch *batch, uint64 row);
static void add_event(WorkerBatch *batch, const QueuedEvent *event);

void
worker_make_batch(WorkerBatch *batch)
{
	memset(batch, 0, sizeof(WorkerBatch));
}

void
worker_read_events(WorkerBatch *batch)
{
	uint64 row;

	make_room(batch, (int) SPI_processed);
	for (row = 0; row < SPI_processed; row++)
		read_event(batch, row);
}

static void
make_room(WorkerBatch *batch, int n)
{
	int size = Max(batch->n + n, Max(2 * batch->size, LEAST_SIZE));

	if (batch->n + n <= batch->size)
		return;
	batch->messages =
		grow(batch->messages, batch->n, size, sizeof(ConversationMessage));
	batch->accepted_at =
		grow(batch->accepted_at, batch->n, size, sizeof(TimestampTz));
	batch->row = grow(batch->row, batch->n, size, sizeof(ItemPointerData));
	batch->lane = grow(batch->lane, batch->n, size, sizeof(int16));
	batch->strict = grow(batch->strict, batch->n, size, sizeof(bool));
	batch->blocked = grow(batch->blocked, batch->n, size, sizeof(bool));
	batch->size = size;
}

/* New elements are zeroed. */
static void *
grow(void *array, int n, int size, Size element)
{
	if (array == NULL)
		return palloc0(size * element);
	array = repalloc(array, size * element);
	memset((char *) array + n * element, 0, (size - n) * element);
	return array;
}

static void
read_event(WorkerBatch *batch, uint64 row)
{
	bool isnull;
	Datum lane = statement_value(row, WORKER_EVENT_NCOLUMNS - 1, &isnull);
	Datum place = statement_value(row, WORKER_EVENT_NCOLUMNS, &isnull);
	QueuedEvent event = {.lane = DatumGetInt16(lane),
						 .row = *(ItemPointer) DatumGetPointer(place)};

	batch->accepted_at[batch->n] =
		event_read_message(row, &batch->messages[batch->n]);
	add_event(batch, &event);
}

void
worker_add_queued(WorkerBatch *batch,
				  LogReader *log,
				  const text *tenant_id,
				  const QueuedEvent *event)
{
	make_room(batch, 1);
	if (log_read(log,
				 tenant_id,
				 &event->id,
				 &batch->messages[batch->n],
				 &batch->accepted_at[batch->n]))
		add_event(batch, event);
}

/* Its message has been read. */
static void
add_event(WorkerBatch *batch, const QueuedEvent *event)
{
	int i = batch->n++;
	ConversationMessage *message = &batch->messages[i];
	const Channel *channel;

	batch->row[i] = event->row;
	batch->lane[i] = event->lane;
	batch->lanes |= UINT64CONST(1) << batch->lane[i];
	channel = channels_find(VARDATA_ANY(message->channel),
							VARSIZE_ANY_EXHDR(message->channel));
	if (channel == NULL || !channel->strict_order)
		return;
	batch->strict[i] = true;
	message->conversation_key =
		address_join_key(channel->thread, message->from, message->to);
}

void
worker_move_event(WorkerBatch *batch, int from, int to)
{
	batch->messages[to] = batch->messages[from];
	batch->accepted_at[to] = batch->accepted_at[from];
	batch->row[to] = batch->row[from];
	batch->lane[to] = batch->lane[from];
	batch->strict[to] = batch->strict[from];
	batch->blocked[to] = batch->blocked[from];
}

void
worker_keys(const WorkerBatch *batch,
			int first,
			int n,
			Datum *tenants,
			Datum *ids)
{
	Datum *columns = palloc(sizeof(Datum) * 2 * n);
	int i;

	for (i = 0; i < n; i++)
	{
		const ConversationMessage *message = &batch->messages[first + i];

		columns[i] = PointerGetDatum(message->tenant_id);
		columns[n + i] = UUIDPGetDatum(&message->id);
	}
	*tenants = statement_array(TEXTOID, columns, NULL, n);
	*ids = statement_array(UUIDOID, columns + n, NULL, n);
}

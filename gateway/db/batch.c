/*
 * batch.c: stores events of concurrent requests in one transaction.
 *
 * A commit costs a disk flush, and one flush can serve hundreds of events. So
 * request threads only append their item to a queue. A batcher thread takes all
 * items of the queue, makes one call and hands out the results. While it does,
 * others collect, so that concurrent requests share a commit. When no batcher
 * is busy, a request thread stores its item by itself: waking up another thread
 * would only delay a single request.
 *
 * A further call starts once as many items wait as a call under way has left to
 * answer. When it started with the first item that arrived, small calls
 * followed large ones, and each costs the server a transaction and a flush. The
 * calls of all slots count: a slot is often idle while the gateway is busy with
 * the others. A call can be stuck behind a lock, so items do not wait longer
 * than GATHER_US.
 *
 * Events of several tenants share the transaction and its flush: it contains
 * one call for each tenant, with that tenant set. All transactions process
 * tenants in the same order, and ingest_batch does so with keys, so that two
 * transactions do not deadlock.
 *
 * In a cluster, the router makes each call in the database of one slot, as a
 * transaction of its own. So a call must not have items of several slots: if
 * one slot refused its items, those of the others would be stored, and sent
 * again. The items of all tenants of a slot are one call of ingest_batch.
 *
 * A result means that the transaction has committed; no request is answered
 * before. If the call fails with an error that the content of one item can
 * cause, the items are sent again one at a time: a bad event delays the others
 * of its batch, but does not fail them.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "db/batch.h"
#include "db/ingest.h"
#include "db/slots.h"

/* Limits of one call: larger ones gain nothing and use memory twice. */
#define BATCH_MAX_ITEMS 500
#define BATCH_MAX_BYTES (4u << 20)

/*
 * Batchers for each two processors: as many sessions of the server are busy.
 * Two are needed even on one processor, because one waits for the disk.
 */
#define BATCHERS_MIN 2
#define BATCHERS_MAX 8

/* How long items may wait for others while a batcher is free. */
#define GATHER_US (SECOND_US / 200)

/* Instead of the slot of an item that is in the list of its slot. */
#define STORED (-1)

/* An item and its position in the queue. */
typedef struct Place
{
	BatchItem *item;
	int number;
} Place;

/* The calls of all batches that share it. */
typedef struct Load
{
	atomic_int calls;	   /* under way */
	atomic_int unanswered; /* their items, until the answers are sent */
	_Atomic(Batch *) first;
} Load;

struct Batch
{
	const Config *config;
	Log *log;
	Metrics *metrics;
	Pool *pool;
	SlotBatch slot;
	pthread_t batchers[BATCHERS_MAX];
	int batcher_count;
	atomic_int busy; /* threads with items; changed under the mutex */
	Load own_load;
	Load *load;
	Batch *next; /* of those that share it */

	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t filled; /* an item waits, or a call is due, or we stop */
	BatchItem *first;
	BatchItem **last;
	int waiting;	  /* items from first on */
	int64_t since_us; /* the queue is not empty */
	bool stopping;
};

static int count_batchers(void);
static bool enter_idle(Batch *batch);
static void leave(Batch *batch);
static void append(Batch *batch, BatchItem *item);
static void *run_batcher(void *argument);
static void hand_out(Batch *batch, BatchItem *items);
static BatchItem *take_waiting(Batch *batch);
static void await_due(Batch *batch);
static bool is_due(const Batch *batch);
static bool is_large_enough(const Load *load, int items);
static void store_items(Batch *batch, BatchItem *items);
static void settle_refused(Batch *batch, BatchItem *items);
static void send_to_router(Batch *batch, BatchItem *items);
static void
store_on(Batch *batch, PoolConnection *connection, BatchItem *items);
static void
store_one_by_one(Batch *batch, PoolConnection *connection, BatchItem *items);
static void
store_by_slot(Batch *batch, PoolConnection *connection, BatchItem *items);
static BatchItem *sort_by_tenant(BatchItem *items);
static int compare_places(const void *left, const void *right);
static bool is_about_tenant(const char *sqlstate);
static bool is_content_error(const char *sqlstate);

Batch *
batch_create(const Config *config, Log *log, Metrics *metrics, Pool *pool)
{
	return batch_create_for_slot(config,
								 log,
								 metrics,
								 pool,
								 &(SlotBatch){.number = -1});
}

Batch *
batch_create_for_slot(const Config *config,
					  Log *log,
					  Metrics *metrics,
					  Pool *pool,
					  const SlotBatch *slot)
{
	Batch *batch = calloc(1, sizeof(*batch));
	int wanted;

	if (batch == NULL)
		return NULL;
	batch->config = config;
	batch->log = log;
	batch->metrics = metrics;
	batch->pool = pool;
	batch->slot = *slot;
	batch->load = slot->beside != NULL ? slot->beside->load : &batch->own_load;
	batch->last = &batch->first;
	pthread_mutex_init(&batch->mutex, NULL);
	clock_init_condition(&batch->filled);
	wanted = !config->batch		 ? 0
			 : slot->number >= 0 ? BATCHERS_MIN
								 : count_batchers();
	while (batch->batcher_count < wanted)
	{
		if (pthread_create(&batch->batchers[batch->batcher_count],
						   NULL,
						   run_batcher,
						   batch) != 0)
		{
			batch_stop(batch);
			return NULL;
		}
		batch->batcher_count++;
	}
	/* One thread at a time creates batches, and none leaves the list. */
	batch->next = batch->load->first;
	batch->load->first = batch;
	return batch;
}

void
batch_store(Batch *batch, BatchItem *item)
{
	item->done = NULL;
	if (!batch->config->batch)
	{
		item->next = NULL;
		store_items(batch, item);
		return;
	}
	if (enter_idle(batch))
	{
		item->next = NULL;
		store_items(batch, item);
		leave(batch);
		return;
	}
	/* One semaphore each, so that a batch does not wake up into one lock. */
	sem_init(&item->finished, 0, 0);
	append(batch, item);
	while (sem_wait(&item->finished) != 0)
		continue;
	sem_destroy(&item->finished);
}

void
batch_submit(Batch *batch, BatchItem *item)
{
	append(batch, item);
}

bool
batch_is_idle(const Batch *batch)
{
	return !batch->config->batch ||
		   (batch->busy == 0 && is_large_enough(batch->load, 1));
}

void
batch_stop(Batch *batch)
{
	pthread_mutex_lock(&batch->mutex);
	batch->stopping = true;
	pthread_cond_broadcast(&batch->filled);
	pthread_mutex_unlock(&batch->mutex);
	for (int i = 0; i < batch->batcher_count; i++)
		pthread_join(batch->batchers[i], NULL);
	pthread_cond_destroy(&batch->filled);
	pthread_mutex_destroy(&batch->mutex);
	free(batch);
}

static int
count_batchers(void)
{
	long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;

	if (half < BATCHERS_MIN)
		return BATCHERS_MIN;
	return half > BATCHERS_MAX ? BATCHERS_MAX : (int) half;
}

/* Makes the thread a busy one, unless there are others or items wait. */
static bool
enter_idle(Batch *batch)
{
	bool idle;

	pthread_mutex_lock(&batch->mutex);
	idle = batch->busy == 0 && batch->first == NULL &&
		   is_large_enough(batch->load, 1);
	if (idle)
	{
		batch->busy++;
		batch->load->calls++;
		batch->load->unanswered++;
	}
	pthread_mutex_unlock(&batch->mutex);
	return idle;
}

/* With the last of its items. What is due now can be a call of any batch. */
static void
leave(Batch *batch)
{
	Load *load = batch->load;

	pthread_mutex_lock(&batch->mutex);
	batch->busy--;
	load->calls--;
	load->unanswered--;
	pthread_mutex_unlock(&batch->mutex);
	for (Batch *each = load->first; each != NULL; each = each->next)
	{
		pthread_mutex_lock(&each->mutex);
		if (is_due(each))
			pthread_cond_signal(&each->filled);
		pthread_mutex_unlock(&each->mutex);
	}
}

static void
append(Batch *batch, BatchItem *item)
{
	item->next = NULL;
	pthread_mutex_lock(&batch->mutex);
	*batch->last = item;
	batch->last = &item->next;
	if (batch->waiting++ == 0)
		batch->since_us = clock_us();
	/* The first one makes a free batcher look at the clock. */
	if (batch->waiting == 1 || is_due(batch))
		pthread_cond_signal(&batch->filled);
	pthread_mutex_unlock(&batch->mutex);
	metrics_add(batch->metrics, METRIC_BATCH_WAITING, 1);
}

static void *
run_batcher(void *argument)
{
	Batch *batch = argument;
	BatchItem *items;

	while ((items = take_waiting(batch)) != NULL)
	{
		store_items(batch, items);
		hand_out(batch, items);
	}
	return NULL;
}

/*
 * Leaves before the last answer: a client that has got it finds an idle batch
 * for its next request.
 */
static void
hand_out(Batch *batch, BatchItem *items)
{
	while (items != NULL)
	{
		/* Its owner may free an item as soon as it has the result. */
		BatchItem *next = items->next;

		if (next == NULL)
			leave(batch);
		else
			batch->load->unanswered--;
		if (items->done != NULL)
			items->done(items);
		else
			sem_post(&items->finished);
		items = next;
	}
}

/* Waits until a call is due; returns its items, or NULL if we stop. */
static BatchItem *
take_waiting(Batch *batch)
{
	BatchItem *items;
	BatchItem **end;
	size_t bytes = 0;
	int taken = 0;

	pthread_mutex_lock(&batch->mutex);
	await_due(batch);
	items = batch->first;
	end = &batch->first;
	for (; *end != NULL && taken < BATCH_MAX_ITEMS; taken++)
	{
		bytes += (*end)->json.length;
		if (taken > 0 && bytes > BATCH_MAX_BYTES)
			break;
		end = &(*end)->next;
	}
	batch->first = *end;
	*end = NULL;
	if (batch->first == NULL)
		batch->last = &batch->first;
	batch->waiting -= taken;
	batch->busy += taken > 0;
	batch->load->calls += taken > 0;
	batch->load->unanswered += taken;
	if (batch->waiting > 0)
		pthread_cond_signal(&batch->filled);
	pthread_mutex_unlock(&batch->mutex);
	metrics_add(batch->metrics, METRIC_BATCH_WAITING, -taken);
	return sort_by_tenant(items);
}

/* The caller holds the mutex, which is released while this waits. */
static void
await_due(Batch *batch)
{
	while (!batch->stopping && !is_due(batch))
	{
		int64_t until_us = batch->since_us + GATHER_US;
		struct timespec until = clock_timespec(until_us);

		if (batch->waiting == 0)
			pthread_cond_wait(&batch->filled, &batch->mutex);
		else if (clock_us() < until_us)
			pthread_cond_timedwait(&batch->filled, &batch->mutex, &until);
		else
			return;
	}
}

static bool
is_due(const Batch *batch)
{
	return batch->waiting >= BATCH_MAX_ITEMS ||
		   (batch->waiting > 0 && is_large_enough(batch->load, batch->waiting));
}

/* As large as the calls under way are on average? */
static bool
is_large_enough(const Load *load, int items)
{
	return items * load->calls >= load->unanswered;
}

/* Keeps the order of the queue within each tenant. */
static BatchItem *
sort_by_tenant(BatchItem *items)
{
	Place places[BATCH_MAX_ITEMS];
	BatchItem **link = &items;
	int count = 0;

	if (items == NULL || items_end_of_tenant(items) == NULL)
		return items;
	for (BatchItem *item = items; item != NULL; item = item->next)
	{
		places[count] = (Place){item, count};
		count++;
	}
	qsort(places, (size_t) count, sizeof(places[0]), compare_places);
	for (int i = 0; i < count; i++)
	{
		*link = places[i].item;
		link = &places[i].item->next;
	}
	*link = NULL;
	return items;
}

static int
compare_places(const void *left, const void *right)
{
	const Place *a = left;
	const Place *b = right;
	int order = strcmp(a->item->tenant, b->item->tenant);

	return order != 0 ? order : a->number - b->number;
}

static void
store_items(Batch *batch, BatchItem *items)
{
	const char *why;
	PoolConnection *connection = pool_borrow_for_slot(batch->pool,
													  POOL_INGEST,
													  batch->slot.number,
													  &why);

	if (connection == NULL)
	{
		items_set_errors(items, "08001", why);
		if (batch->slot.router != NULL && pool_is_away(batch->pool))
			send_to_router(batch, items);
		return;
	}
	ingest_prepare(connection);
	if (pool_is_router(connection) && items_end_of_tenant(items) != NULL)
		store_by_slot(batch, connection, items);
	else
		store_on(batch, connection, items);
	pool_return(batch->pool, connection);
	if (batch->slot.router != NULL)
		settle_refused(batch, items);
}

/*
 * A slot that does not have a tenant has stored nothing of it: the router knows
 * which one has. If the connection was lost, the items may have been stored, so
 * they are not sent again, and the answer is that of the router.
 */
static void
settle_refused(Batch *batch, BatchItem *items)
{
	BatchItem *order[BATCH_MAX_ITEMS];
	BatchItem *foreign = NULL;
	BatchItem **end = &foreign;
	char message[64];
	int count = 0;

	snprintf(message, sizeof(message), SLOT_AWAY, batch->slot.number);
	for (BatchItem *item = items; item != NULL; item = item->next)
	{
		if (session_was_lost(item->sqlstate))
			item_set_error(item, "MS503", message, NULL);
		order[count++] = item;
	}
	for (int i = 0; i < count; i++)
	{
		if (strcmp(order[i]->sqlstate, "MS421") != 0)
			continue;
		*end = order[i];
		end = &order[i]->next;
	}
	*end = NULL;
	if (foreign != NULL)
		send_to_router(batch, foreign);
	for (int i = 0; i < count; i++)
		order[i]->next = i + 1 < count ? order[i + 1] : NULL;
}

static void
send_to_router(Batch *batch, BatchItem *items)
{
	batch->slot.doubt(batch->slot.cluster);
	store_items(batch->slot.router, items);
}

static void
store_on(Batch *batch, PoolConnection *connection, BatchItem *items)
{
	QueryOutcome outcome =
		ingest_items(connection, items, batch->slot.router != NULL);

	metrics_add(batch->metrics, METRIC_BATCHES, 1);
	if (strcmp(outcome.sqlstate, "00000") == 0)
	{
		PQclear(outcome.result);
		return;
	}
	if (items->next != NULL && is_content_error(outcome.sqlstate))
	{
		log_event(batch->log,
				  LOG_WARN,
				  "batch failed with %s; retrying its events one at a time",
				  outcome.sqlstate);
		metrics_add(batch->metrics, METRIC_BATCHES_SPLIT, 1);
		store_one_by_one(batch, connection, items);
	}
	else
	{
		/* No details: of a whole call, they can quote another body. */
		items_set_errors(
			items,
			outcome.sqlstate,
			outcome.result == NULL
				? "connection lost"
				: PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
		items->alone = items->next == NULL;
	}
	PQclear(outcome.result);
}

/* Each slot's items are a list of their own meanwhile. */
static void
store_by_slot(Batch *batch, PoolConnection *connection, BatchItem *items)
{
	BatchItem *order[BATCH_MAX_ITEMS];
	QueryOutcome outcome = slots_assign(connection, items);
	bool known = strcmp(outcome.sqlstate, "00000") == 0;
	int count = 0;

	if (!known)
		items_set_errors(
			items,
			outcome.sqlstate,
			outcome.result == NULL
				? "connection lost"
				: PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY));
	PQclear(outcome.result);
	for (BatchItem *item = items; item != NULL; item = item->next)
		order[count++] = item;
	for (int i = 0; i < count && known; i++)
	{
		BatchItem *last = order[i];
		int slot = last->slot;

		if (slot == STORED)
			continue;
		for (int j = i + 1; j < count; j++)
		{
			if (order[j]->slot != slot)
				continue;
			order[j]->slot = STORED;
			last->next = order[j];
			last = order[j];
		}
		last->next = NULL;
		store_on(batch, connection, order[i]);
	}
	for (int i = 0; i < count; i++)
		order[i]->next = i + 1 < count ? order[i + 1] : NULL;
}

static void
store_one_by_one(Batch *batch, PoolConnection *connection, BatchItem *items)
{
	const BatchItem *previous = NULL;
	int unavailable = 0; /* tenants in a row */

	for (BatchItem *item = items; item != NULL; item = item->next)
	{
		BatchItem *next = item->next;

		/*
		 * If the server just went away, do not try each item. A tenant that is
		 * being moved or has moved, or whose slot is away, is not available to
		 * its next item either; and after two tenants it is the slot.
		 */
		if (previous != NULL &&
			(!is_content_error(previous->sqlstate) || unavailable > 1 ||
			 (is_about_tenant(previous->sqlstate) &&
			  strcmp(previous->tenant, item->tenant) == 0)))
			item_set_error(item,
						   previous->sqlstate,
						   previous->message,
						   previous->detail);
		else
		{
			item->next = NULL;
			store_on(batch, connection, item);
			item->next = next;
			unavailable =
				strcmp(item->sqlstate, "MS503") == 0 ? unavailable + 1 : 0;
		}
		previous = item;
	}
}

/* Will the tenant's next item fail as well? */
static bool
is_about_tenant(const char *sqlstate)
{
	return strcmp(sqlstate, "MS503") == 0 || strcmp(sqlstate, "MS421") == 0;
}

/*
 * Errors that are not about the state of the server may be caused by the
 * content of one item. That includes deadlocks and serialization failures
 * (class 40), which an item sent alone can avoid.
 */
static bool
is_content_error(const char *sqlstate)
{
	return strncmp(sqlstate, "08", 2) != 0 && strncmp(sqlstate, "53", 2) != 0 &&
		   strncmp(sqlstate, "57", 2) != 0 && !session_lost_primary(sqlstate);
}

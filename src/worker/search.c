/*
 * worker/search.c: finds the events to process next.
 *
 * Tenants take turns: each gets an equal share of a batch for its new events,
 * and shares that are not used go to the others. So an event waits for a batch
 * or two of its own lane, however many events another tenant has. Retries take
 * at most half of a batch, so that events that keep failing do not delay new
 * ones.
 *
 * The index of the queue keeps entries of deleted rows as long as some
 * transaction could see them, and a search from the start has to pass them all.
 * So a worker continues where it stopped, per tenant, and commits tell it when
 * they add events before that: see wake/wake.c.
 *
 * Some changes wake nobody: restored rows, or a row lock held by hand. They are
 * found by searching everything from time to time, as often as it takes at most
 * a twentieth of the time. Without dead index entries that is nearly every
 * turn.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "address/address.h"
#include "server/settings.h"
#include "server/statement.h"
#include "tenancy/placement.h"
#include "wake/lanes.h"
#include "worker/search.h"
#include "worker/tenants.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#define FULL_SEARCH_PAUSES 20

/* Maximum number of tenants per statement, and of places that are kept. */
#define MAX_TENANTS 1000

/* Workers do not lock the rows but delete them where read: see take.c. */
#define FIND_RETRIES(lock)                                                     \
	"SELECT " WORKER_EVENT_COLUMNS ", q.next_attempt_at FROM ("                \
	"  SELECT tenant_id, event_id, lane, ctid AS row, next_attempt_at"         \
	"  FROM msgstore.event_queue"                                              \
	"  WHERE next_attempt_at >= $3 AND next_attempt_at <= $2"                  \
	"  AND ($4 >> lane) & 1 = 1 AND ($5 = '' OR tenant_id = $5)"               \
	"  AND NOT msgstore._is_elsewhere(tenant_id)"                              \
	"  ORDER BY next_attempt_at, event_id LIMIT $1" lock ") AS q"              \
	" JOIN msgstore.event_log l"                                               \
	" ON l.tenant_id = q.tenant_id AND l.id = q.event_id"

#define FIND_FRESH(lock)                                                       \
	"SELECT " WORKER_EVENT_COLUMNS ", t.ordinal"                               \
	" FROM unnest($1, $2) WITH ORDINALITY"                                     \
	" AS t (tenant_id, place, ordinal) CROSS JOIN LATERAL ("                   \
	"  SELECT tenant_id, event_id, lane, ctid AS row"                          \
	"  FROM msgstore.event_queue"                                              \
	"  WHERE tenant_id = t.tenant_id AND event_id > t.place"                   \
	"  AND next_attempt_at IS NULL AND ($3 >> lane) & 1 = 1"                   \
	"  ORDER BY event_id LIMIT $4" lock ") AS q"                               \
	" JOIN msgstore.event_log l"                                               \
	" ON l.tenant_id = q.tenant_id AND l.id = q.event_id"

#define RETRY_ARGUMENTS                                                        \
	.nargs = 5,                                                                \
	.argtypes = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TEXTOID},   \
	.table = "event_log"

#define FRESH_ARGUMENTS                                                        \
	.nargs = 4, .argtypes = {TEXTARRAYOID, UUIDARRAYOID, INT8OID, INT8OID},    \
	.table = "event_log"

/* Read with the active snapshot: see claim_in_lanes(). */
static Statement find_retries = {.sql = FIND_RETRIES(""),
								 .read_only = true,
								 RETRY_ARGUMENTS};
static Statement find_fresh = {.sql = FIND_FRESH(""),
							   .read_only = true,
							   FRESH_ARGUMENTS};

static Statement lock_retries = {.sql = FIND_RETRIES(" FOR UPDATE SKIP LOCKED"),
								 RETRY_ARGUMENTS};
static Statement lock_fresh = {.sql = FIND_FRESH(" FOR UPDATE SKIP LOCKED"),
							   FRESH_ARGUMENTS};

/* The column after those of the event. */
#define CLAIM_PLACE (WORKER_EVENT_NCOLUMNS + 1)

static Statement next_retry = {
	.sql = "SELECT next_attempt_at FROM msgstore.event_queue"
		   " WHERE next_attempt_at > $1 AND next_attempt_at < 'infinity'"
		   " AND ($2 >> lane) & 1 = 1"
		   " ORDER BY next_attempt_at LIMIT 1",
	.nargs = 2,
	.argtypes = {TIMESTAMPTZOID, INT8OID}};

/* The last of a tenant's new events that was found. */
typedef struct Place
{
	uint64 hash; /* of the tenant */
	text *tenant_id;
	pg_uuid_t event_id;
	bool distrusted; /* search the tenant from its first event instead */
} Place;

/* Tenants searched by one statement: where to start, and what each got. */
typedef struct Round
{
	int n;
	text *tenants[MAX_TENANTS];
	pg_uuid_t places[MAX_TENANTS];
	int claimed[MAX_TENANTS];
} Round;

/* Iterates over the tenants once, starting after the one served last. */
typedef struct Circle
{
	text *start; /* NULL: start with the first tenant */
	text *last;	 /* the last one listed; NULL: none */
	bool past_end;
	bool closed;
} Circle;

/* The search of a worker, and of a session in process() or claim(). */
static WorkerSearch worker_search;
static WorkerSearch session_search;

/* End and duration of the last search of everything. */
static TimestampTz full_search_at = 0;
static int64 full_search_us = 0;

static void begin_anywhere(WorkerSearch *search);
static void forget_places(WorkerSearch *search);
static void distrust_places(WorkerSearch *search);
static void note_news(WorkerSearch *search, const WorkerNews *news);
static void step_back(pg_uuid_t *id);
static int claim_due_retries(int most,
							 TimestampTz due,
							 WorkerSearch *search,
							 WorkerBatch *batch);
static void claim_in_turns(int most, WorkerSearch *search, WorkerBatch *batch);
static int
serve(Round *round, int most, WorkerSearch *search, WorkerBatch *batch);
static int serve_once(Round *round,
					  int quota,
					  const WorkerSearch *search,
					  WorkerBatch *batch);
static int serve_by_statement(Round *round,
							  int quota,
							  const WorkerSearch *search,
							  WorkerBatch *batch);
static void
list_round(WorkerSearch *search, Circle *circle, int most, Round *round);
static int keep_here(text **tenants, int n);
static int list_tenants(Circle *circle, int most, text **tenants);
static Place *
find_place(WorkerSearch *search, const text *tenant_id, bool make);
static void keep_last_tenant(WorkerSearch *search, const text *tenant_id);
static text *copy_text(MemoryContext memory, const text *value);
static void keep_places(WorkerSearch *search, const Round *round);

WorkerSearch *
worker_begin_search(const WorkerSlot *slot,
					uint64 share,
					const WorkerNews *news)
{
	WorkerSearch *search = &worker_search;

	/* With too many tenants, start over with all of them. */
	if (search->places == NULL ||
		hash_get_num_entries(search->places) > MAX_TENANTS)
		forget_places(search);
	/* Events in lanes that were locked by others have been skipped. */
	search->everything = share != search->lanes || search->incomplete ||
						 GetCurrentTimestamp() - full_search_at >=
							 full_search_us * FULL_SEARCH_PAUSES;
	search->slot = slot;
	search->lanes = share;
	if (search->everything)
	{
		distrust_places(search);
		search->retries_from = DT_NOBEGIN;
	}
	note_news(search, news);
	return search;
}

void
worker_update_search(WorkerSearch *search)
{
	WorkerNews news;

	if (search->slot == NULL)
		return;
	LWLockAcquire(wake_shared->lock, LW_SHARED);
	news = search->slot->news;
	LWLockRelease(wake_shared->lock);
	note_news(search, &news);
}

void
worker_end_search(void)
{
	if (!worker_search.everything)
		return;
	full_search_at = GetCurrentTimestamp();
	full_search_us = worker_search.claim_us;
}

WorkerSearch *
worker_search_all(bool locks)
{
	WorkerSearch *search = &session_search;

	forget_places(search);
	search->locks = locks;
	search->lanes = LANES_ALL;
	search->retries_from = DT_NOBEGIN;
	if (search->last_tenant == NULL)
		begin_anywhere(search);
	return search;
}

/*
 * Starts at a random tenant. Otherwise short sessions that take a few events
 * each would all start with the same one.
 */
static void
begin_anywhere(WorkerSearch *search)
{
	text **tenants = palloc(sizeof(text *) * MAX_TENANTS);
	int n = worker_list_tenants(NULL, NULL, MAX_TENANTS, tenants);

	if (n > 1)
		keep_last_tenant(
			search,
			tenants[pg_prng_uint64_range(&pg_global_prng_state, 0, n - 1)]);
	pfree(tenants);
}

static void
forget_places(WorkerSearch *search)
{
	HASHCTL control = {.keysize = sizeof(uint64), .entrysize = sizeof(Place)};

	if (search->memory == NULL)
		search->memory = AllocSetContextCreate(TopMemoryContext,
											   "msgstore search",
											   ALLOCSET_SMALL_SIZES);
	MemoryContextReset(search->memory);
	control.hcxt = search->memory;
	search->places = hash_create("msgstore tenants",
								 16,
								 &control,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * Each tenant is searched from its first event once more, in this batch or, if
 * that is full before its turn, in a later one.
 */
static void
distrust_places(WorkerSearch *search)
{
	HASH_SEQ_STATUS all;
	Place *place;

	hash_seq_init(&all, search->places);
	while ((place = hash_seq_search(&all)) != NULL)
		place->distrusted = true;
}

/* The news does not say whose event it is, so every place is moved back. */
static void
note_news(WorkerSearch *search, const WorkerNews *news)
{
	pg_uuid_t before = news->lowest;
	HASH_SEQ_STATUS all;
	Place *place;

	step_back(&before);
	hash_seq_init(&all, search->places);
	while ((place = hash_seq_search(&all)) != NULL)
	{
		if (memcmp(&before, &place->event_id, sizeof(pg_uuid_t)) < 0)
			place->event_id = before;
	}
	search->retries_from = Min(search->retries_from, news->earliest);
}

/* Replaces the id by the one before; zero stays zero. */
static void
step_back(pg_uuid_t *id)
{
	static const pg_uuid_t zero;
	int i;

	if (memcmp(id, &zero, sizeof(pg_uuid_t)) == 0)
		return;
	for (i = UUID_LEN - 1; id->data[i]-- == 0; i--)
		;
}

void
worker_claim(int most,
			 TimestampTz due,
			 WorkerSearch *search,
			 WorkerBatch *batch)
{
	int retries;

	worker_make_batch(batch);
	retries = claim_due_retries((most + 1) / 2, due, search, batch);
	claim_in_turns(most - retries, search, batch);
}

/* An event that is claimed gets another due time or leaves the queue. */
static int
claim_due_retries(int most,
				  TimestampTz due,
				  WorkerSearch *search,
				  WorkerBatch *batch)
{
	TimestampTz last = search->retries_from;
	Datum values[5];
	bool isnull;
	int n;

	values[0] = Int64GetDatum(most);
	values[1] = TimestampTzGetDatum(due);
	values[2] = TimestampTzGetDatum(search->retries_from);
	values[3] = Int64GetDatum((int64) search->lanes);
	values[4] = CStringGetTextDatum(msgstore_tenant_id);
	statement_execute(search->locks ? &lock_retries : &find_retries,
					  values,
					  NULL);
	n = (int) SPI_processed;
	worker_read_events(batch);
	if (n > 0)
		last =
			DatumGetTimestampTz(statement_value(n - 1, CLAIM_PLACE, &isnull));
	search->retries_from = n < most ? due : last;
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* Visits each tenant once, starting after the one served last. */
static void
claim_in_turns(int most, WorkerSearch *search, WorkerBatch *batch)
{
	Circle circle = {.start = search->last_tenant, .last = search->last_tenant};
	Round *round = palloc(sizeof(Round));

	while (most > 0 && !circle.closed)
	{
		list_round(search, &circle, Min(most, MAX_TENANTS), round);
		most -= serve(round, most, search, batch);
	}
	keep_last_tenant(search, circle.last);
	pfree(round);
}

static void
list_round(WorkerSearch *search, Circle *circle, int most, Round *round)
{
	int i;

	if (msgstore_tenant_id[0] != '\0')
	{
		round->tenants[0] = cstring_to_text(msgstore_tenant_id);
		round->n = 1;
		circle->closed = true;
	}
	else
		round->n = keep_here(round->tenants,
							 list_tenants(circle, most, round->tenants));
	for (i = 0; i < round->n; i++)
	{
		Place *place = find_place(search, round->tenants[i], false);

		memset(&round->places[i], 0, sizeof(pg_uuid_t));
		if (place != NULL && !place->distrusted)
			round->places[i] = place->event_id;
	}
}

/* Removes the tenants whose events are left alone; returns how many stay. */
static int
keep_here(text **tenants, int n)
{
	int kept = 0;
	int i;

	if (!placement_any_elsewhere())
		return n;
	for (i = 0; i < n; i++)
	{
		if (!placement_is_elsewhere(text_to_cstring(tenants[i])))
			tenants[kept++] = tenants[i];
	}
	return kept;
}

/* Lists tenants up to the last one, then from the first to the start. */
static int
list_tenants(Circle *circle, int most, text **tenants)
{
	int n = 0;

	if (!circle->past_end)
		n = worker_list_tenants(circle->last, NULL, most, tenants);
	if (n > 0)
		circle->last = tenants[n - 1];
	if (n == most)
		return n;
	if (circle->start != NULL)
		n += worker_list_tenants(circle->past_end ? circle->last : NULL,
								 circle->start,
								 most - n,
								 tenants + n);
	circle->past_end = true;
	circle->closed = n < most;
	if (n > 0)
		circle->last = tenants[n - 1];
	return n;
}

/* Tenants with more events than their share get what the others leave. */
static int
serve(Round *round, int most, WorkerSearch *search, WorkerBatch *batch)
{
	int claimed = 0;

	while (round->n > 0 && claimed < most)
	{
		int quota = Max((most - claimed) / round->n, 1);
		int n = 0;
		int i;

		round->n = Min(round->n, most - claimed);
		claimed += serve_once(round, quota, search, batch);
		keep_places(search, round);
		for (i = 0; i < round->n; i++)
		{
			if (round->claimed[i] < quota)
				continue;
			round->tenants[n] = round->tenants[i];
			round->places[n++] = round->places[i];
		}
		round->n = n;
	}
	return claimed;
}

static int
serve_once(Round *round,
		   int quota,
		   const WorkerSearch *search,
		   WorkerBatch *batch)
{
	QueueReader queue;
	LogReader log;
	int n = 0;
	int i;

	if (search->locks || !queue_open(&queue))
		return serve_by_statement(round, quota, search, batch);
	if (!log_open(&log))
	{
		queue_close(&queue);
		return serve_by_statement(round, quota, search, batch);
	}
	for (i = 0; i < round->n; i++)
	{
		QueuedEvent event;
		int claimed = 0;

		queue_seek(&queue, round->tenants[i], &round->places[i]);
		while (claimed < quota && queue_next(&queue, search->lanes, &event))
		{
			worker_add_queued(batch, &log, round->tenants[i], &event);
			round->places[i] = event.id;
			claimed++;
		}
		round->claimed[i] = claimed;
		n += claimed;
	}
	log_close(&log);
	queue_close(&queue);
	return n;
}

static int
serve_by_statement(Round *round,
				   int quota,
				   const WorkerSearch *search,
				   WorkerBatch *batch)
{
	Datum *columns = palloc(sizeof(Datum) * round->n * 2);
	Datum values[4];
	bool isnull;
	uint64 row;
	int n;
	int i;

	for (i = 0; i < round->n; i++)
	{
		columns[i] = PointerGetDatum(round->tenants[i]);
		columns[round->n + i] = UUIDPGetDatum(&round->places[i]);
		round->claimed[i] = 0;
	}
	values[0] = statement_array(TEXTOID, columns, NULL, round->n);
	values[1] = statement_array(UUIDOID, columns + round->n, NULL, round->n);
	values[2] = Int64GetDatum((int64) search->lanes);
	values[3] = Int64GetDatum(quota);
	statement_execute(search->locks ? &lock_fresh : &find_fresh, values, NULL);
	n = (int) SPI_processed;
	for (row = 0; row < SPI_processed; row++)
	{
		Datum ordinal = statement_value(row, CLAIM_PLACE, &isnull);

		i = (int) DatumGetInt64(ordinal) - 1;
		round->places[i] = *DatumGetUUIDP(statement_value(row, 2, &isnull));
		round->claimed[i]++;
	}
	worker_read_events(batch);
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static void
keep_places(WorkerSearch *search, const Round *round)
{
	int i;

	for (i = 0; i < round->n; i++)
	{
		bool found = round->claimed[i] > 0;
		Place *place = find_place(search, round->tenants[i], found);

		if (place == NULL)
			continue;
		place->distrusted = false;
		if (found)
			place->event_id = round->places[i];
	}
}

/* NULL if unknown. Of two tenants with the same hash only one has a place. */
static Place *
find_place(WorkerSearch *search, const text *tenant_id, bool make)
{
	uint64 hash =
		hash_bytes_extended((const unsigned char *) VARDATA_ANY(tenant_id),
							VARSIZE_ANY_EXHDR(tenant_id),
							0);
	bool found;
	Place *place = hash_search(search->places,
							   &hash,
							   make ? HASH_ENTER : HASH_FIND,
							   &found);

	if (place != NULL && !found)
		place->tenant_id = copy_text(search->memory, tenant_id);
	if (place != NULL && address_compare(place->tenant_id, tenant_id) != 0)
		return NULL;
	return place;
}

static void
keep_last_tenant(WorkerSearch *search, const text *tenant_id)
{
	text *last = search->last_tenant;

	if (tenant_id == NULL || tenant_id == last)
		return;
	search->last_tenant = copy_text(TopMemoryContext, tenant_id);
	if (last != NULL)
		pfree(last);
}

static text *
copy_text(MemoryContext memory, const text *value)
{
	MemoryContext caller = MemoryContextSwitchTo(memory);
	text *copy = DatumGetTextPCopy(PointerGetDatum(value));

	MemoryContextSwitchTo(caller);
	return copy;
}

bool
worker_has_more(int claimed, int size)
{
	return claimed >= (size + 1) / 2;
}

TimestampTz
worker_next_retry(TimestampTz after, uint64 lanes)
{
	Datum values[2];
	bool isnull;

	values[0] = TimestampTzGetDatum(after);
	values[1] = Int64GetDatum((int64) lanes);
	statement_execute(&next_retry, values, NULL);
	if (SPI_processed == 0)
		return DT_NOEND;
	return DatumGetTimestampTz(statement_value(0, 1, &isnull));
}

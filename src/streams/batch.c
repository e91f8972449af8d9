/*
 * streams/batch.c: several events of several streams, all or none.
 *
 * Two statements for any number of events: the first finds the events that
 * are already stored, the second reads the versions of the streams. Then
 * positions are drawn in the order of the call, so that they increase with
 * versions, and insert.c or a third statement inserts. Rows are inserted in the
 * order of stream names, so that two batches on the same streams cannot
 * deadlock.
 *
 * Another session may take a version in between. Then insert.c raises an error
 * or the statement stores fewer rows than there are events, the subtransaction
 * is rolled back, and the batch is tried again from the start: either a version
 * turns out not to be the expected one, or the events take the next versions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "server/versions.h"
#include "streams/counter.h"
#include "streams/streams.h"
#include "tenancy/placement.h"

/* Arrays that are inserted from. */
#define COLUMNS 11

/*
 * Attempts after which a trigger, if there is one, is more likely to suppress
 * an event than other sessions are to take its version.
 */
#define SUSPICIOUS_ROUNDS 100

static Statement find_by_ids = {
	.sql = "SELECT n.ordinal, e.stream = n.stream AND e.type = n.type"
		   " AND e.data IS NOT DISTINCT FROM n.data"
		   " AND e.metadata IS NOT DISTINCT FROM n.metadata,"
		   " e.version, e.global_position"
		   " FROM unnest($2, $3, $4, $5, $6) WITH ORDINALITY"
		   " AS n (event_id, stream, type, data, metadata, ordinal)"
		   " JOIN msgstore.stream_events e"
		   " ON e.tenant_id = $1 AND e.event_id = n.event_id",
	.nargs = 6,
	.argtypes = {TEXTOID,
				 UUIDARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 JSONBARRAYOID,
				 JSONBARRAYOID},
	.table = "stream_events"};

static Statement find_versions = {
	.sql = "SELECT n.ordinal, (SELECT " STREAMS_LAST_VERSION
		   "  FROM msgstore.stream_events e"
		   "  WHERE e.tenant_id = $1 AND e.stream = n.stream"
		   "  ORDER BY e.version DESC LIMIT 1)"
		   " FROM unnest($2) WITH ORDINALITY AS n (stream, ordinal)",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTARRAYOID}};

static Statement insert_events = {
	.sql = "INSERT INTO msgstore.stream_events (tenant_id, horizon, created_at,"
		   " global_position, version, event_id, stream, category, type,"
		   " created_by, data, metadata, happened_at, tags)"
		   " SELECT $1, $2, $3, n.global_position, n.version, n.event_id,"
		   " n.stream, n.category, n.type, n.created_by, n.data, n.metadata,"
		   " n.happened_at, n.tags::text[]"
		   " FROM unnest($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		   " AS n (global_position, version, event_id, stream, category, type,"
		   " created_by, data, metadata, happened_at, tags)"
		   " ON CONFLICT DO NOTHING",
	.nargs = 14,
	.argtypes = {TEXTOID,
				 INT8OID,
				 TIMESTAMPTZOID,
				 INT8ARRAYOID,
				 INT8ARRAYOID,
				 UUIDARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 TEXTARRAYOID,
				 JSONBARRAYOID,
				 JSONBARRAYOID,
				 TIMESTAMPTZARRAYOID,
				 TEXTARRAYOID}};

static void append_all(StreamEvent *events, int n);
static void lock_tags(const StreamEvent *events, int n);
static bool append_once(StreamEvent *events, int n);
static bool is_taken(const ErrorData *error);
static bool try_append(StreamEvent *events, int n);
static int find_stored(StreamEvent *events, int n);
static void find_repeated(StreamEvent **given, int n);
static bool same_content(const StreamEvent *a, const StreamEvent *b);
static bool same_jsonb(Jsonb *a, Jsonb *b);
static void give_versions(StreamEvent **sorted, int n);
static bool insert_all(StreamEvent **sorted, int n);
static bool insert_by_statement(StreamEvent **sorted, int n);
static void add_keys(StreamEvent **sorted, int n);
static int compare_ids(const void *a, const void *b);
static int compare_streams(const void *a, const void *b);
static int compare_texts(const text *a, const text *b);

PG_FUNCTION_INFO_V1(msgstore_append_batch);

Datum
msgstore_append_batch(PG_FUNCTION_ARGS)
{
	Jsonb *given = PG_GETARG_JSONB_P(0);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StreamEvent *events;
	JsonbIterator *iterator;
	JsonbValue value;
	JsonbIteratorToken token;
	int n = 0;
	int i;

	placement_check_own();
	if (!JB_ROOT_IS_ARRAY(given) || JB_ROOT_IS_SCALAR(given))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"events\" is not a JSON array")));
	events = palloc0(sizeof(StreamEvent) * Max(JB_ROOT_COUNT(given), 1));
	iterator = JsonbIteratorInit(&given->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_ELEM)
			continue;
		if (value.type != jbvBinary ||
			!JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_MS_BAD_REQUEST),
					 errmsg("event %d is not a JSON object", n + 1)));
		streams_read_event(JsonbValueToJsonb(&value), n + 1, &events[n]);
		n++;
	}
	InitMaterializedSRF(fcinfo, 0);
	if (n > 0)
		append_all(events, n);
	for (i = 0; i < n; i++)
	{
		bool nulls[3] = {false, false, false};
		Datum values[3];

		values[0] = PointerGetDatum(events[i].stream);
		values[1] = Int64GetDatum(events[i].version);
		values[2] = Int64GetDatum(events[i].position);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
append_all(StreamEvent *events, int n)
{
	int rounds = 0;
	int i;

	PreventCommandIfReadOnly("append_batch()");
	lock_tags(events, n);
	SPI_connect();
	while (!append_once(events, n))
	{
		CHECK_FOR_INTERRUPTS();
		if (++rounds >= SUSPICIOUS_ROUNDS &&
			triggers_may_alter("stream_events", TRIGGER_TYPE_INSERT))
			triggers_report("stream_events", TRIGGER_TYPE_INSERT);
	}
	SPI_finish();
	for (i = 0; i < n; i++)
	{
		if (!events[i].duplicate)
			streams_wake_at_commit(events[i].category);
	}
}

static void
lock_tags(const StreamEvent *events, int n)
{
	ArrayType **tags = palloc(sizeof(ArrayType *) * n);
	int i;

	for (i = 0; i < n; i++)
		tags[i] = events[i].tags;
	streams_lock_tags(tags, n, NULL);
	pfree(tags);
}

/*
 * Tries in a subtransaction, which is rolled back if another session appended
 * to a stream at the same time, and which must end here on errors too.
 */
static bool
append_once(StreamEvent *events, int n)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		done = try_append(events, n);
		if (done)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!is_taken(error))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* Whether another session has taken a version, an event id or a position. */
static bool
is_taken(const ErrorData *error)
{
	const char *key = error->constraint_name;

	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || key == NULL ||
		error->table_name == NULL ||
		strcmp(error->table_name, "stream_events") != 0)
		return false;
	if (strcmp(key, "stream_events_position_idx") == 0)
		counter_compare_again();
	else if (strcmp(key, "stream_events_pkey") != 0 &&
			 strcmp(key, "stream_events_event_id_key") != 0)
		return false;
	return true;
}

/* False: another session appended to a stream at the same time. */
static bool
try_append(StreamEvent *events, int n)
{
	StreamEvent **sorted = palloc(sizeof(StreamEvent *) * n);
	int nsorted = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		events[i].duplicate = false;
		events[i].first = NULL;
	}
	if (find_stored(events, n) == n)
		return true;
	for (i = 0; i < n; i++)
	{
		if (!events[i].duplicate)
			sorted[nsorted++] = &events[i];
	}
	/* Events of one stream stay in the order of the call. */
	qsort(sorted, nsorted, sizeof(StreamEvent *), compare_streams);
	give_versions(sorted, nsorted);
	for (i = 0; i < n; i++)
	{
		if (!events[i].duplicate)
			events[i].position =
				streams_take_position(events[i].category, events[i].tags);
	}
	if (!insert_all(sorted, nsorted))
		return false;
	for (i = 0; i < n; i++)
	{
		const StreamEvent *first = events[i].first;

		if (first != NULL)
		{
			events[i].version = first->version;
			events[i].position = first->position;
		}
	}
	return true;
}

/* Marks events that are stored or repeated in the call; returns how many. */
static int
find_stored(StreamEvent *events, int n)
{
	StreamEvent **given = palloc(sizeof(StreamEvent *) * n);
	Datum *columns = palloc0(sizeof(Datum) * n * 5);
	bool *nulls = palloc0(sizeof(bool) * n * 5);
	static const Oid types[] = {UUIDOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID};
	Datum values[6];
	bool isnull;
	uint64 row;
	int ngiven = 0;
	int stored = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (events[i].event_id != NULL)
			given[ngiven++] = &events[i];
	}
	if (ngiven == 0)
		return 0;
	qsort(given, ngiven, sizeof(StreamEvent *), compare_ids);
	find_repeated(given, ngiven);
	for (i = 0; i < ngiven; i++)
	{
		columns[i] = UUIDPGetDatum(given[i]->event_id);
		columns[ngiven + i] = PointerGetDatum(given[i]->stream);
		columns[2 * ngiven + i] = PointerGetDatum(given[i]->type);
		columns[3 * ngiven + i] = PointerGetDatum(given[i]->data);
		columns[4 * ngiven + i] = PointerGetDatum(given[i]->metadata);
		nulls[4 * ngiven + i] = given[i]->metadata == NULL;
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	for (i = 0; i < 5; i++)
		values[1 + i] = statement_array(types[i],
										columns + i * ngiven,
										nulls + i * ngiven,
										ngiven);
	statement_execute(&find_by_ids, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		StreamEvent *event =
			given[DatumGetInt64(statement_value(row, 1, &isnull)) - 1];

		if (!DatumGetBool(statement_value(row, 2, &isnull)))
			streams_raise_other_content(event->event_id);
		event->version = DatumGetInt64(statement_value(row, 3, &isnull));
		event->position = DatumGetInt64(statement_value(row, 4, &isnull));
		event->duplicate = true;
	}
	for (i = 0; i < n; i++)
		stored += events[i].duplicate;
	return stored;
}

static void
find_repeated(StreamEvent **given, int n)
{
	int i;

	for (i = 1; i < n; i++)
	{
		if (memcmp(given[i - 1]->event_id,
				   given[i]->event_id,
				   sizeof(pg_uuid_t)) != 0)
			continue;
		if (!same_content(given[i - 1], given[i]))
			streams_raise_other_content(given[i]->event_id);
		given[i]->duplicate = true;
		given[i]->first =
			given[i - 1]->first != NULL ? given[i - 1]->first : given[i - 1];
	}
}

static bool
same_content(const StreamEvent *a, const StreamEvent *b)
{
	return compare_texts(a->stream, b->stream) == 0 &&
		   compare_texts(a->type, b->type) == 0 &&
		   same_jsonb(a->data, b->data) && same_jsonb(a->metadata, b->metadata);
}

static bool
same_jsonb(Jsonb *a, Jsonb *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return compareJsonbContainers(&a->root, &b->root) == 0;
}

static void
give_versions(StreamEvent **sorted, int n)
{
	Datum *streams = palloc(sizeof(Datum) * n);
	int64 *versions = palloc0(sizeof(int64) * n);
	Datum values[2];
	bool isnull;
	uint64 row;
	int nstreams = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (i == 0 ||
			compare_texts(sorted[i - 1]->stream, sorted[i]->stream) != 0)
			streams[nstreams++] = PointerGetDatum(sorted[i]->stream);
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = statement_array(TEXTOID, streams, NULL, nstreams);
	statement_execute(&find_versions, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		int64 stream = DatumGetInt64(statement_value(row, 1, &isnull)) - 1;
		int64 version = DatumGetInt64(statement_value(row, 2, &isnull));

		versions[stream] = isnull ? 0 : version;
	}
	nstreams = 0;
	for (i = 0; i < n; i++)
	{
		if (i > 0 &&
			compare_texts(sorted[i - 1]->stream, sorted[i]->stream) != 0)
			nstreams++;
		streams_check_not_ended(sorted[i], versions[nstreams]);
		if (sorted[i]->has_expected &&
			sorted[i]->expected != versions[nstreams])
			streams_raise_conflict(sorted[i],
								   versions[nstreams],
								   CONFLICT_MSGSTORE);
		sorted[i]->version = ++versions[nstreams];
	}
}

static bool
insert_all(StreamEvent **sorted, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	int i;

	for (i = 0; i < n; i++)
		sorted[i]->created_at = now;
	if (!streams_insert_many(sorted, n) && !insert_by_statement(sorted, n))
		return false;
	add_keys(sorted, n);
	return true;
}

static bool
insert_by_statement(StreamEvent **sorted, int n)
{
	Datum *columns = palloc0(sizeof(Datum) * n * COLUMNS);
	bool *nulls = palloc0(sizeof(bool) * n * COLUMNS);
	static const Oid types[] = {INT8OID,
								INT8OID,
								UUIDOID,
								TEXTOID,
								TEXTOID,
								TEXTOID,
								TEXTOID,
								JSONBOID,
								JSONBOID,
								TIMESTAMPTZOID,
								TEXTOID};
	Datum values[3 + COLUMNS];
	int i;

	for (i = 0; i < n; i++)
	{
		const StreamEvent *event = sorted[i];
		pg_uuid_t *id = event->event_id;

		if (id == NULL)
		{
			id = palloc(sizeof(pg_uuid_t));
			streams_make_event_id(event->position, id);
		}
		columns[i] = Int64GetDatum(event->position);
		columns[n + i] = Int64GetDatum(event->version);
		columns[2 * n + i] = UUIDPGetDatum(id);
		columns[3 * n + i] = PointerGetDatum(event->stream);
		columns[4 * n + i] = PointerGetDatum(event->category);
		columns[5 * n + i] = PointerGetDatum(event->type);
		columns[6 * n + i] = PointerGetDatum(event->created_by);
		columns[7 * n + i] = PointerGetDatum(event->data);
		columns[8 * n + i] = PointerGetDatum(event->metadata);
		nulls[6 * n + i] = event->created_by == NULL;
		nulls[8 * n + i] = event->metadata == NULL;
		columns[9 * n + i] = TimestampTzGetDatum(event->happened_at);
		nulls[9 * n + i] = !event->has_happened;
		nulls[10 * n + i] = event->tags == NULL;
		if (event->tags != NULL)
			columns[10 * n + i] = CStringGetTextDatum(
				OidOutputFunctionCall(F_ARRAY_OUT,
									  PointerGetDatum(event->tags)));
	}
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = Int64GetDatum(streams_horizon());
	values[2] = TimestampTzGetDatum(sorted[0]->created_at);
	for (i = 0; i < COLUMNS; i++)
		values[3 + i] =
			statement_array(types[i], columns + i * n, nulls + i * n, n);
	statement_execute(&insert_events, values, NULL);
	return SPI_processed == (uint64) n;
}

static void
add_keys(StreamEvent **sorted, int n)
{
	Datum *positions = palloc(sizeof(Datum) * n);
	int found = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		if (streams_has_keys(sorted[i]))
			positions[found++] = Int64GetDatum(sorted[i]->position);
	}
	streams_add_keys(positions, found);
}

/* Events with the same id stay in the order of the call. */
static int
compare_ids(const void *a, const void *b)
{
	const StreamEvent *left = *(StreamEvent *const *) a;
	const StreamEvent *right = *(StreamEvent *const *) b;
	int order = memcmp(left->event_id, right->event_id, sizeof(pg_uuid_t));

	if (order != 0)
		return order;
	return left < right ? -1 : left > right;
}

static int
compare_streams(const void *a, const void *b)
{
	const StreamEvent *left = *(StreamEvent *const *) a;
	const StreamEvent *right = *(StreamEvent *const *) b;
	int order = compare_texts(left->stream, right->stream);

	if (order != 0)
		return order;
	return left < right ? -1 : left > right;
}

static int
compare_texts(const text *a, const text *b)
{
	int alen = VARSIZE_ANY_EXHDR(a);
	int blen = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));

	return order != 0 ? order : alen - blen;
}

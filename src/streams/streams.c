/*
 * streams/streams.c: event streams; here, appending one event.
 *
 * The streams keep three promises. The versions of a stream count up without
 * gaps. An event id stands for one event. A reader by global position never
 * misses an event (position.c). They need statements, row inserts and settings
 * of the server, and no other part of msgstore.
 *
 * An append reads the version of the stream, draws a position and inserts the
 * event with the next version, by one statement here or without one in
 * insert.c. Two sessions that append to one stream meet at the primary key
 * (tenant, stream, version): the second waits until the first transaction ends,
 * and then finds its version taken. Sessions on different streams do not wait
 * for each other, even within a category.
 *
 * The position is drawn after the snapshot that showed the version, so within a
 * stream positions increase with versions.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "server/triggers.h"
#include "streams/streams.h"
#include "tenancy/placement.h"

/* A longer name and the tenant's would not fit into an index tuple. */
#define MAX_NAME_BYTES 1000

#define READ_LAST_VERSION                                                      \
	"SELECT " STREAMS_LAST_VERSION " FROM msgstore.stream_events e"            \
	" WHERE e.tenant_id = $1 AND e.stream = $2"                                \
	" ORDER BY e.version DESC LIMIT 1"

#define INSERT_EVENT(event_id, arbiter)                                        \
	"INSERT INTO msgstore.stream_events (tenant_id, stream, version,"          \
	" global_position, horizon, event_id, created_at, category, type,"         \
	" data, metadata, created_by, happened_at, tags)"                          \
	" SELECT $1, $2, c.version + 1, msgstore._take_position($4, $11),"         \
	" msgstore._horizon(), " event_id ", $3, $4, $5, $6, $7, $8, $10, $11"     \
	" FROM (SELECT coalesce((" READ_LAST_VERSION "), 0) AS version) AS c"      \
	" WHERE ($9 IS NULL OR c.version = $9)"                                    \
	" AND c.version < 9223372036854775807"                                     \
	" ON CONFLICT " arbiter " DO NOTHING RETURNING version, global_position"

/* A generated id is new, so only the version can conflict. */
static Statement append_with_new_id = {
	.sql = INSERT_EVENT("msgstore._event_id()", "(tenant_id, stream, version)"),
	.nargs = 11,
	.argtypes = {TEXTOID,
				 TEXTOID,
				 TIMESTAMPTZOID,
				 TEXTOID,
				 TEXTOID,
				 JSONBOID,
				 JSONBOID,
				 TEXTOID,
				 INT8OID,
				 TIMESTAMPTZOID,
				 TEXTARRAYOID}};

static Statement append_with_own_id = {.sql = INSERT_EVENT("$12", ""),
									   .nargs = 12,
									   .argtypes = {TEXTOID,
													TEXTOID,
													TIMESTAMPTZOID,
													TEXTOID,
													TEXTOID,
													JSONBOID,
													JSONBOID,
													TEXTOID,
													INT8OID,
													TIMESTAMPTZOID,
													TEXTARRAYOID,
													UUIDOID}};

static Statement find_by_id = {
	.sql = "SELECT stream = $3 AND type = $4 AND data IS NOT DISTINCT FROM $5"
		   " AND metadata IS NOT DISTINCT FROM $6, version, global_position"
		   " FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND event_id = $2",
	.nargs = 6,
	.argtypes = {TEXTOID, UUIDOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID},
	.table = "stream_events"};

/* Sees what was committed since the calling statement began. */
static Statement find_version = {.sql = READ_LAST_VERSION,
								 .nargs = 2,
								 .argtypes = {TEXTOID, TEXTOID}};

static Statement see_version = {.sql =
									"SELECT version FROM msgstore.stream_events"
									" WHERE tenant_id = $1 AND stream = $2"
									" ORDER BY version DESC LIMIT 1",
								.nargs = 2,
								.argtypes = {TEXTOID, TEXTOID},
								.read_only = true};

static text *optional_text(FunctionCallInfo fcinfo, int arg);
static void take_event(FunctionCallInfo fcinfo, StreamEvent *event);
static text *required_text(FunctionCallInfo fcinfo, int arg, const char *name);
static bool is_kept(const text *name);
static void check_name(const text *name, const char *field);
static bool insert_event(StreamEvent *event);
static bool insert_by_statement(StreamEvent *event);
static bool find_same_event(StreamEvent *event, ConflictWords words);
static void
set_value(Datum *values, char *nulls, int column, const void *value);
static int64 version_of(Statement *statement, text *stream);

PG_FUNCTION_INFO_V1(msgstore_append);
PG_FUNCTION_INFO_V1(msgstore_append_at);
PG_FUNCTION_INFO_V1(msgstore_check_category);
PG_FUNCTION_INFO_V1(msgstore_stream_category);
PG_FUNCTION_INFO_V1(msgstore_stream_version);

/* append(stream, type, data, expected, metadata, id, by, happened_at, tags) */
Datum
msgstore_append(PG_FUNCTION_ARGS)
{
	StreamEvent event;

	take_event(fcinfo, &event);
	event.has_happened = !PG_ARGISNULL(7);
	if (event.has_happened)
		event.happened_at = PG_GETARG_TIMESTAMPTZ(7);
	if (!PG_ARGISNULL(8))
		event.tags = PG_GETARG_ARRAYTYPE_P(8);
	streams_check_tags(&event);
	streams_check_not_kept(&event);
	streams_append(&event, CONFLICT_MSGSTORE);
	PG_RETURN_INT64(event.version);
}

/* _append_at(stream, type, data, expected, metadata, id, by, created_at) */
Datum
msgstore_append_at(PG_FUNCTION_ARGS)
{
	StreamEvent event;

	take_event(fcinfo, &event);
	event.created_at = PG_GETARG_TIMESTAMPTZ(7);
	streams_append(&event, CONFLICT_MSGSTORE);
	PG_RETURN_INT64(event.version);
}

Datum
msgstore_check_category(PG_FUNCTION_ARGS)
{
	streams_check_category(PG_GETARG_TEXT_PP(0));
	PG_RETURN_VOID();
}

Datum
msgstore_stream_category(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(streams_category(PG_GETARG_TEXT_PP(0)));
}

Datum
msgstore_stream_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(streams_version(PG_GETARG_TEXT_PP(0)));
}

int64
streams_version(text *stream)
{
	int64 version;

	SPI_connect();
	version = version_of(&see_version, stream);
	SPI_finish();
	return version;
}

void
streams_check_event(StreamEvent *event)
{
	check_name(event->stream, "stream");
	check_name(event->type, "type");
	event->category = streams_category(event->stream);
}

void
streams_check_not_kept(const StreamEvent *event)
{
	if (is_kept(event->stream))
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("stream name \"%s\" is reserved for msgstore",
					text_to_cstring(event->stream)),
			 errhint(
				 "Use append_host_events() and the other functions for hosts.")));
	if (is_kept(event->type))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("event type \"%s\" is reserved for msgstore",
						text_to_cstring(event->type)),
				 errhint("Use tombstone_stream() to end a stream.")));
}

void
streams_check_expected(const StreamEvent *event)
{
	if (event->has_expected && event->expected < 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("expected version %lld is negative",
					(long long) event->expected),
			 errdetail(
				 "The expected version must be that of the last event, or 0 for a stream without events.")));
}

void
streams_check_category(const text *category)
{
	if (memchr(VARDATA_ANY(category), '-', VARSIZE_ANY_EXHDR(category)) == NULL)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_BAD_REQUEST),
		 errmsg("\"%s\" is not a category", text_to_cstring(category)),
		 errdetail(
			 "A category is the name of its streams up to the first hyphen."),
		 errhint("Use read_stream() to read a stream.")));
}

text *
streams_category(const text *stream)
{
	const char *name = VARDATA_ANY(stream);
	int len = VARSIZE_ANY_EXHDR(stream);
	const char *dash = memchr(name, '-', len);

	return cstring_to_text_with_len(name, dash != NULL ? dash - name : len);
}

void
streams_check_not_ended(const StreamEvent *event, int64 current)
{
	if (current == PG_INT64_MAX)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_CONFLICT),
			 errmsg("stream \"%s\" has ended", text_to_cstring(event->stream)),
			 errdetail("Its tombstone is its last event.")));
}

void
streams_raise_conflict(const StreamEvent *event,
					   int64 current,
					   ConflictWords words)
{
	char *stream = text_to_cstring(event->stream);

	if (words == CONFLICT_MESSAGE_STORE)
		ereport(
			ERROR,
			(errcode(ERRCODE_RAISE_EXCEPTION),
			 errmsg(
				 "Wrong expected version: %lld (Stream: %s, Stream Version: %lld)",
				 (long long) event->expected - 1,
				 stream,
				 (long long) current - 1)));
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_CONFLICT),
		 errmsg("version conflict on stream \"%s\": expected %lld, got %lld",
				stream,
				(long long) event->expected,
				(long long) current),
		 errdetail("The stream is at version %lld.", (long long) current),
		 errhint(
			 "Read the new events, then append with the current version.")));
}

void
streams_raise_other_content(const pg_uuid_t *event_id)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_MS_CONFLICT),
		 errmsg("event id \"%s\" was used with different content",
				DatumGetCString(
					DirectFunctionCall1(uuid_out, UUIDPGetDatum(event_id)))),
		 errdetail(
			 "The same event id must come with the same stream, type, data and metadata."),
		 errhint("Repeat the event unchanged, or use another event id.")));
}

/* The first seven arguments of an append. */
static void
take_event(FunctionCallInfo fcinfo, StreamEvent *event)
{
	memset(event, 0, sizeof(StreamEvent));
	event->stream = required_text(fcinfo, 0, "stream");
	event->type = required_text(fcinfo, 1, "type");
	if (!PG_ARGISNULL(2))
		event->data = PG_GETARG_JSONB_P(2);
	event->has_expected = !PG_ARGISNULL(3);
	if (event->has_expected)
		event->expected = PG_GETARG_INT64(3);
	streams_check_expected(event);
	if (event->data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"data\" is null"),
				 errhint("Use {} for an event without data.")));
	if (!PG_ARGISNULL(4))
		event->metadata = PG_GETARG_JSONB_P(4);
	if (!PG_ARGISNULL(5))
		event->event_id = PG_GETARG_UUID_P(5);
	event->created_by = optional_text(fcinfo, 6);
	event->created_at = GetCurrentTimestamp();
}

static text *
optional_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : PG_GETARG_TEXT_PP(arg);
}

static text *
required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"%s\" is null", name)));
	return PG_GETARG_TEXT_PP(arg);
}

static bool
is_kept(const text *name)
{
	static const char kept[] = "msgstore:";

	return VARSIZE_ANY_EXHDR(name) >= sizeof(kept) - 1 &&
		   memcmp(VARDATA_ANY(name), kept, sizeof(kept) - 1) == 0;
}

static void
check_name(const text *name, const char *field)
{
	int len = VARSIZE_ANY_EXHDR(name);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("\"%s\" of the event is empty", field)));
	if (len > MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("\"%s\" of the event has %d bytes", field, len),
				 errdetail("It must not exceed %d bytes.", MAX_NAME_BYTES)));
}

/*
 * An insert that stored nothing has met the same event or an unexpected
 * version. If neither is found now, either the conflicting row is gone, or no
 * version is expected and another session took the next one first; then it
 * tries again with a newer snapshot.
 */
void
streams_append(StreamEvent *event, ConflictWords words)
{
	bool again = false;

	placement_check_own();
	streams_check_event(event);
	if (event->tags != NULL)
		streams_lock_tags(&event->tags, 1, NULL);
	while (!event->duplicate && !insert_event(event))
	{
		CHECK_FOR_INTERRUPTS();
		SPI_connect();
		if (event->event_id == NULL || !find_same_event(event, words))
		{
			int64 current = version_of(&find_version, event->stream);

			streams_check_not_ended(event, current);
			if (event->has_expected && current != event->expected)
				streams_raise_conflict(event, current, words);
			if (again &&
				triggers_may_alter("stream_events", TRIGGER_TYPE_INSERT))
				triggers_report("stream_events", TRIGGER_TYPE_INSERT);
			again = true;
		}
		SPI_finish();
	}
	if (event->duplicate)
		return;
	if (streams_has_keys(event))
	{
		Datum position = Int64GetDatum(event->position);

		SPI_connect();
		streams_add_keys(&position, 1);
		SPI_finish();
	}
	streams_wake_at_commit(event->category);
}

static bool
insert_event(StreamEvent *event)
{
	bool stored;

	if (streams_insert(event, &stored))
		return stored;
	SPI_connect();
	stored = insert_by_statement(event);
	SPI_finish();
	return stored;
}

static bool
insert_by_statement(StreamEvent *event)
{
	char nulls[] = "            ";
	Datum values[12];
	bool isnull;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[2] = TimestampTzGetDatum(event->created_at);
	values[8] = Int64GetDatum(event->expected);
	set_value(values, nulls, 1, event->stream);
	set_value(values, nulls, 3, event->category);
	set_value(values, nulls, 4, event->type);
	set_value(values, nulls, 5, event->data);
	set_value(values, nulls, 6, event->metadata);
	set_value(values, nulls, 7, event->created_by);
	values[9] = TimestampTzGetDatum(event->happened_at);
	set_value(values, nulls, 10, event->tags);
	set_value(values, nulls, 11, event->event_id);
	if (!event->has_expected)
		nulls[8] = 'n';
	if (!event->has_happened)
		nulls[9] = 'n';
	statement_execute(event->event_id == NULL ? &append_with_new_id
											  : &append_with_own_id,
					  values,
					  nulls);
	if (SPI_processed == 0)
		return false;
	event->version = DatumGetInt64(statement_value(0, 1, &isnull));
	event->position = DatumGetInt64(statement_value(0, 2, &isnull));
	return true;
}

static bool
find_same_event(StreamEvent *event, ConflictWords words)
{
	char nulls[] = "      ";
	Datum values[6];
	bool isnull;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	set_value(values, nulls, 1, event->event_id);
	set_value(values, nulls, 2, event->stream);
	set_value(values, nulls, 3, event->type);
	set_value(values, nulls, 4, event->data);
	set_value(values, nulls, 5, event->metadata);
	statement_execute(&find_by_id, values, nulls);
	if (SPI_processed == 0)
		return false;
	if (words == CONFLICT_MESSAGE_STORE)
		ereport(
			ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg(
				 "duplicate key value violates unique constraint \"messages_id\""),
			 errdetail(
				 "Key (id)=(%s) already exists.",
				 DatumGetCString(DirectFunctionCall1(uuid_out, values[1])))));
	if (!DatumGetBool(statement_value(0, 1, &isnull)))
		streams_raise_other_content(event->event_id);
	event->version = DatumGetInt64(statement_value(0, 2, &isnull));
	event->position = DatumGetInt64(statement_value(0, 3, &isnull));
	event->duplicate = true;
	return true;
}

/* An argument passed by reference; NULL is SQL's null. */
static void
set_value(Datum *values, char *nulls, int column, const void *value)
{
	values[column] = PointerGetDatum(value);
	nulls[column] = value == NULL ? 'n' : ' ';
}

static int64
version_of(Statement *statement, text *stream)
{
	Datum values[2];
	bool isnull;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = PointerGetDatum(stream);
	statement_execute(statement, values, NULL);
	if (SPI_processed == 0)
		return 0;
	return DatumGetInt64(statement_value(0, 1, &isnull));
}

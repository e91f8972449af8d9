/*
 * streams/streams.c: events appended to streams, and read from them.
 *
 * An append is one statement, or what it would do: it reads the stream's
 * version, draws a position and inserts the event with the next version. Two
 * sessions that append to one stream meet at the primary key (tenant, stream,
 * version): the second waits for the first one's end and then finds its version
 * taken. Sessions on different streams never meet, whatever the streams'
 * category is.
 *
 * The position is drawn after the snapshot that showed the version: so a
 * stream's positions grow with its versions.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"

/* Longer names would not fit into an index's row beside the tenant's. */
#define MAX_NAME_BYTES 1000

#define INSERT_EVENT(event_id, arbiter)                                        \
	"INSERT INTO msgstore.stream_events (tenant_id, stream, version,"          \
	" global_position, horizon, event_id, created_at, category, type,"         \
	" data, metadata, created_by)"                                             \
	" SELECT $1, $2, c.version + 1, msgstore._take_position(),"                \
	" msgstore._horizon(), " event_id ", $3, $4, $5, $6, $7, $8"               \
	" FROM (SELECT coalesce((SELECT e.version FROM msgstore.stream_events e"   \
	"  WHERE e.tenant_id = $1 AND e.stream = $2"                               \
	"  ORDER BY e.version DESC LIMIT 1), 0) AS version) AS c"                  \
	" WHERE $9 IS NULL OR c.version = $9"                                      \
	" ON CONFLICT " arbiter " DO NOTHING RETURNING version, global_position"

/* An id that is made here is new: it need not be looked for before. */
static Statement append_with_new_id = {
	.sql = INSERT_EVENT("msgstore._event_id()", "(tenant_id, stream, version)"),
	.nargs = 9,
	.argtypes = {TEXTOID,
				 TEXTOID,
				 TIMESTAMPTZOID,
				 TEXTOID,
				 TEXTOID,
				 JSONBOID,
				 JSONBOID,
				 TEXTOID,
				 INT8OID}};

static Statement append_with_own_id = {.sql = INSERT_EVENT("$10", ""),
									   .nargs = 10,
									   .argtypes = {TEXTOID,
													TEXTOID,
													TIMESTAMPTZOID,
													TEXTOID,
													TEXTOID,
													JSONBOID,
													JSONBOID,
													TEXTOID,
													INT8OID,
													UUIDOID}};

static Statement find_by_id = {
	.sql = "SELECT stream = $3 AND type = $4 AND data IS NOT DISTINCT FROM $5"
		   " AND metadata IS NOT DISTINCT FROM $6, version, global_position"
		   " FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND event_id = $2",
	.nargs = 6,
	.argtypes = {TEXTOID, UUIDOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID},
	.table = "stream_events"};

static Statement find_version = {
	.sql = "SELECT version FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND stream = $2"
		   " ORDER BY version DESC LIMIT 1",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTOID}};

static Statement see_version = {.sql =
									"SELECT version FROM msgstore.stream_events"
									" WHERE tenant_id = $1 AND stream = $2"
									" ORDER BY version DESC LIMIT 1",
								.nargs = 2,
								.argtypes = {TEXTOID, TEXTOID},
								.read_only = true};

#define EVENT_COLUMNS                                                          \
	"stream, version, global_position, event_id, type, data, metadata,"        \
	" created_at, created_by"

static Statement read_forwards = {
	.sql = "SELECT " EVENT_COLUMNS " FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND stream = $2 AND version >= $3"
		   " ORDER BY version LIMIT $4",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, INT8OID},
	.read_only = true};

static Statement read_backwards = {
	.sql = "SELECT " EVENT_COLUMNS " FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND stream = $2 AND version <= $3"
		   " ORDER BY version DESC LIMIT $4",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, INT8OID, INT8OID},
	.read_only = true};

#define READ_LOG(condition)                                                    \
	"SELECT " EVENT_COLUMNS " FROM msgstore.stream_events"                     \
	" WHERE tenant_id = $1 AND global_position > $2"                           \
	" AND global_position <= $3" condition                                     \
	" ORDER BY global_position LIMIT $4"

#define OF_MEMBER " AND msgstore._consumer_of(stream, $6) = $5"

static Statement read_log = {.sql = READ_LOG(""),
							 .nargs = 4,
							 .argtypes = {TEXTOID, INT8OID, INT8OID, INT8OID},
							 .table = "stream_events"};

static Statement read_log_of_member = {
	.sql = READ_LOG(OF_MEMBER),
	.nargs = 6,
	.argtypes = {TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID},
	.table = "stream_events"};

static Statement read_category = {
	.sql = READ_LOG(" AND category = $5"),
	.nargs = 5,
	.argtypes = {TEXTOID, INT8OID, INT8OID, INT8OID, TEXTOID},
	.table = "stream_events"};

static Statement read_category_of_member = {
	.sql = READ_LOG(OF_MEMBER " AND category = $7"),
	.nargs = 7,
	.argtypes = {TEXTOID, INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID},
	.table = "stream_events"};

static Statement fold_stream = {
	.sql = "SELECT msgstore.fold(e.data) FROM ("
		   "SELECT data FROM msgstore.stream_events"
		   " WHERE tenant_id = $1 AND stream = $2 AND created_at <= $3"
		   " ORDER BY version) AS e",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID},
	.read_only = true};

static text *optional_text(FunctionCallInfo fcinfo, int arg);
static void take_event(FunctionCallInfo fcinfo, StreamEvent *event);
static text *required_text(FunctionCallInfo fcinfo, int arg, const char *name);
static void check_name(const text *name, const char *field);
static void append_event(StreamEvent *event, ConflictWords words);
static bool insert_event(StreamEvent *event);
static bool insert_by_statement(StreamEvent *event);
static bool find_same_event(StreamEvent *event, ConflictWords words);
static int64 version_of(Statement *statement, text *stream);
static int64 count_argument(FunctionCallInfo fcinfo, int arg, const char *name);
static Datum return_rows(FunctionCallInfo fcinfo,
						 Statement *statement,
						 Datum *values,
						 const char *nulls);
static Datum read_stream(FunctionCallInfo fcinfo, Statement *statement);
static Datum read_settled(FunctionCallInfo fcinfo, bool by_category);
static int member_arguments(FunctionCallInfo fcinfo, int first, Datum *values);
static uint64 hash_cardinal_id(const char *name, int len);

PG_FUNCTION_INFO_V1(msgstore_append);
PG_FUNCTION_INFO_V1(msgstore_write_message);
PG_FUNCTION_INFO_V1(msgstore_stream_category);
PG_FUNCTION_INFO_V1(msgstore_consumer_of);
PG_FUNCTION_INFO_V1(msgstore_read_stream);
PG_FUNCTION_INFO_V1(msgstore_read_stream_backwards);
PG_FUNCTION_INFO_V1(msgstore_read_category);
PG_FUNCTION_INFO_V1(msgstore_read_all);
PG_FUNCTION_INFO_V1(msgstore_stream_version);
PG_FUNCTION_INFO_V1(msgstore_stream_state);

/* append(stream, type, data, expected, metadata, id, by), _append_at(…, at) */
Datum
msgstore_append(PG_FUNCTION_ARGS)
{
	StreamEvent event;

	take_event(fcinfo, &event);
	if (event.data == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"data\" is null"),
				 errdetail("An event has JSON data; {} is the least.")));
	if (!PG_ARGISNULL(5))
		event.event_id = PG_GETARG_UUID_P(5);
	event.created_by = optional_text(fcinfo, 6);
	if (PG_NARGS() > 7)
		event.created_at = PG_GETARG_TIMESTAMPTZ(7);
	else
		streams_check_not_kept(&event);
	append_event(&event, CONFLICT_MSGSTORE);
	PG_RETURN_INT64(event.version);
}

/* write_message(id, stream_name, type, data, metadata, expected_version) */
Datum
msgstore_write_message(PG_FUNCTION_ARGS)
{
	StreamEvent event = {0};

	event.stream = required_text(fcinfo, 1, "stream_name");
	event.type = required_text(fcinfo, 2, "type");
	streams_check_not_kept(&event);
	if (!PG_ARGISNULL(0))
		event.event_id = DatumGetUUIDP(DirectFunctionCall1(
			uuid_in,
			CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	if (!PG_ARGISNULL(3))
		event.data = PG_GETARG_JSONB_P(3);
	if (!PG_ARGISNULL(4))
		event.metadata = PG_GETARG_JSONB_P(4);
	event.has_expected = !PG_ARGISNULL(5);
	if (event.has_expected)
		event.expected = PG_GETARG_INT64(5) + 1;
	event.created_at = GetCurrentTimestamp();
	append_event(&event, CONFLICT_MESSAGE_STORE);
	PG_RETURN_INT64(event.version - 1);
}

Datum
msgstore_stream_category(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(streams_category(PG_GETARG_TEXT_PP(0)));
}

/*
 * The member of a group of the given size that a stream belongs to. The hash is
 * of the stream's id up to its first '+', so that streams that belong together
 * have one consumer; a stream without an id is hashed by its name.
 */
Datum
msgstore_consumer_of(PG_FUNCTION_ARGS)
{
	text *stream = PG_GETARG_TEXT_PP(0);
	int64 size = PG_GETARG_INT64(1);
	const char *name = VARDATA_ANY(stream);
	int len = VARSIZE_ANY_EXHDR(stream);
	const char *dash = memchr(name, '-', len);

	if (dash != NULL)
	{
		len -= dash + 1 - name;
		name = dash + 1;
	}
	PG_RETURN_INT64((int64) (hash_cardinal_id(name, len) % (uint64) size));
}

Datum
msgstore_read_stream(PG_FUNCTION_ARGS)
{
	return read_stream(fcinfo, &read_forwards);
}

Datum
msgstore_read_stream_backwards(PG_FUNCTION_ARGS)
{
	return read_stream(fcinfo, &read_backwards);
}

Datum
msgstore_read_category(PG_FUNCTION_ARGS)
{
	return read_settled(fcinfo, true);
}

Datum
msgstore_read_all(PG_FUNCTION_ARGS)
{
	return read_settled(fcinfo, false);
}

Datum
msgstore_stream_version(PG_FUNCTION_ARGS)
{
	int64 version;

	SPI_connect();
	version = version_of(&see_version, PG_GETARG_TEXT_PP(0));
	SPI_finish();
	PG_RETURN_INT64(version);
}

/* stream_state(stream, at) */
Datum
msgstore_stream_state(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum values[3];
	Datum state = (Datum) 0;
	bool isnull;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	SPI_connect();
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = PG_GETARG_DATUM(0);
	values[2] =
		PG_ARGISNULL(1) ? TimestampTzGetDatum(DT_NOEND) : PG_GETARG_DATUM(1);
	statement_execute(&fold_stream, values, NULL);
	state = statement_value(0, 1, &isnull);
	if (!isnull)
	{
		MemoryContextSwitchTo(caller);
		state = JsonbPGetDatum(DatumGetJsonbPCopy(state));
	}
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(state);
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
	static const char kept[] = "msgstore:";

	if (VARSIZE_ANY_EXHDR(event->stream) >= sizeof(kept) - 1 &&
		memcmp(VARDATA_ANY(event->stream), kept, sizeof(kept) - 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("stream \"%s\" is kept by msgstore itself",
						text_to_cstring(event->stream)),
				 errhint("Use the functions of the room that keeps it.")));
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
				 "Versions count from 1; a stream without events has version 0.")));
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
			 "Read what the stream has got since, and append with its version.")));
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
			 "An event id stands for one stream, type, data and metadata."),
		 errhint("Repeat the event as it was, or use another id.")));
}

/* The first five arguments of an append. */
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
	if (!PG_ARGISNULL(4))
		event->metadata = PG_GETARG_JSONB_P(4);
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
				 errdetail("It may have %d.", MAX_NAME_BYTES)));
}

/*
 * An insert that stored nothing met something that was there: the same event,
 * or another version than the expected one. When neither is to be found it
 * went in between, or another session was faster to a stream for which nothing
 * is expected, and the next try has a newer snapshot.
 */
static void
append_event(StreamEvent *event, ConflictWords words)
{
	streams_check_event(event);
	while (!event->duplicate && !insert_event(event))
	{
		CHECK_FOR_INTERRUPTS();
		SPI_connect();
		if (event->event_id == NULL || !find_same_event(event, words))
		{
			int64 current = version_of(&find_version, event->stream);

			if (event->has_expected && current != event->expected)
				streams_raise_conflict(event, current, words);
		}
		SPI_finish();
	}
	if (!event->duplicate)
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
	char nulls[] = "          ";
	Datum values[10];
	bool isnull;

	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = PointerGetDatum(event->stream);
	values[2] = TimestampTzGetDatum(event->created_at);
	values[3] = PointerGetDatum(event->category);
	values[4] = PointerGetDatum(event->type);
	values[5] = PointerGetDatum(event->data);
	values[6] = PointerGetDatum(event->metadata);
	values[7] = PointerGetDatum(event->created_by);
	values[8] = Int64GetDatum(event->expected);
	values[9] = PointerGetDatum(event->event_id);
	if (event->data == NULL)
		nulls[5] = 'n';
	if (event->metadata == NULL)
		nulls[6] = 'n';
	if (event->created_by == NULL)
		nulls[7] = 'n';
	if (!event->has_expected)
		nulls[8] = 'n';
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
	values[1] = UUIDPGetDatum(event->event_id);
	values[2] = PointerGetDatum(event->stream);
	values[3] = PointerGetDatum(event->type);
	values[4] = PointerGetDatum(event->data);
	values[5] = PointerGetDatum(event->metadata);
	if (event->data == NULL)
		nulls[4] = 'n';
	if (event->metadata == NULL)
		nulls[5] = 'n';
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

/* Null is no limit. */
static int64
count_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	int64 count;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	count = PG_GETARG_INT64(arg);
	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"%s\" is negative: %lld",
						name,
						(long long) count),
				 errdetail("It is a number of events, or null for no limit.")));
	return count;
}

static Datum
return_rows(FunctionCallInfo fcinfo,
			Statement *statement,
			Datum *values,
			const char *nulls)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64 row;

	statement_execute(statement, values, nulls);
	for (row = 0; row < SPI_processed; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	return (Datum) 0;
}

/* read_stream(stream, from_version, max_events), and backwards */
static Datum
read_stream(FunctionCallInfo fcinfo, Statement *statement)
{
	bool backwards = statement == &read_backwards;
	Datum values[4];

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = PG_GETARG_DATUM(0);
	values[2] = PG_ARGISNULL(1) ? Int64GetDatum(backwards ? PG_INT64_MAX : 1)
								: PG_GETARG_DATUM(1);
	values[3] = Int64GetDatum(count_argument(fcinfo, 2, "max_events"));
	SPI_connect();
	(void) return_rows(fcinfo, statement, values, NULL);
	SPI_finish();
	return (Datum) 0;
}

/* read_category(category, after, max, member, size), read_all(after, …) */
static Datum
read_settled(FunctionCallInfo fcinfo, bool by_category)
{
	int first = by_category ? 1 : 0;
	Statement *statement = by_category ? &read_category : &read_log;
	Datum values[7];
	int nvalues;

	InitMaterializedSRF(fcinfo, 0);
	if (by_category && PG_ARGISNULL(0))
		return (Datum) 0;
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = PG_ARGISNULL(first) ? Int64GetDatum(0) : PG_GETARG_DATUM(first);
	values[3] = Int64GetDatum(count_argument(fcinfo, first + 1, "max_events"));
	nvalues = 4 + member_arguments(fcinfo, first + 2, values + 4);
	if (nvalues > 4)
		statement =
			by_category ? &read_category_of_member : &read_log_of_member;
	if (by_category)
		values[nvalues] = PG_GETARG_DATUM(0);
	SPI_connect();
	/* The statement's snapshot comes after this. */
	values[2] = Int64GetDatum(streams_settled_position());
	(void) return_rows(fcinfo, statement, values, NULL);
	SPI_finish();
	return (Datum) 0;
}

/* Takes member and size of a consumer group; returns how many values it set. */
static int
member_arguments(FunctionCallInfo fcinfo, int first, Datum *values)
{
	bool no_member = PG_ARGISNULL(first);
	bool no_size = PG_ARGISNULL(first + 1);
	int64 member;
	int64 size;

	if (no_member && no_size)
		return 0;
	if (no_member || no_size)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("argument \"%s\" is missing",
					no_member ? "consumer_member" : "consumer_size"),
			 errdetail(
				 "A consumer of a group is named by its number and the size of the group.")));
	member = PG_GETARG_INT64(first);
	size = PG_GETARG_INT64(first + 1);
	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("a consumer group of size %lld has no members",
						(long long) size)));
	if (member < 0 || member >= size)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("consumer %lld is not in a group of size %lld",
						(long long) member,
						(long long) size),
				 errdetail("Members count from 0.")));
	values[0] = Int64GetDatum(member);
	values[1] = Int64GetDatum(size);
	return 2;
}

/* The absolute value of the first 64 bits of the MD5, as a signed number. */
static uint64
hash_cardinal_id(const char *name, int len)
{
	const char *plus = memchr(name, '+', len);
	const char *error = NULL;
	unsigned char digest[MD5_DIGEST_LENGTH];
	uint64 hash = 0;
	int i;

	if (!pg_md5_binary(name, plus != NULL ? plus - name : len, digest, &error))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute an MD5 hash: %s", error)));
	for (i = 0; i < 8; i++)
		hash = hash << 8 | digest[i];
	return (hash >> 63) != 0 ? ~hash + 1 : hash;
}

/*
 * streams/read.c: events read from one stream, a category, or all streams.
 *
 * Reading a category or all streams ends at the settled position (position.c),
 * so that a reader that continues after the last event never misses one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/md5.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/filter.h"
#include "streams/streams.h"

#define EVENT_COLUMNS                                                          \
	"stream, version, global_position, event_id, type, data, metadata,"        \
	" created_at, created_by, happened_at, tags"

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
		   " WHERE tenant_id = $1 AND stream = $2"
		   " AND coalesce(happened_at, created_at) <= $3"
		   " ORDER BY version) AS e",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, TIMESTAMPTZOID},
	.read_only = true};

static int64 count_argument(FunctionCallInfo fcinfo, int arg, const char *name);
static Datum return_rows(FunctionCallInfo fcinfo,
						 Statement *statement,
						 Datum *values,
						 int filters);
static Datum read_stream(FunctionCallInfo fcinfo, Statement *statement);
static Datum read_settled(FunctionCallInfo fcinfo, bool by_category);
static int member_arguments(FunctionCallInfo fcinfo, int first, Datum *values);
static uint64 hash_cardinal_id(const char *name, int len);

PG_FUNCTION_INFO_V1(msgstore_consumer_of);
PG_FUNCTION_INFO_V1(msgstore_read_stream);
PG_FUNCTION_INFO_V1(msgstore_read_stream_backwards);
PG_FUNCTION_INFO_V1(msgstore_read_category);
PG_FUNCTION_INFO_V1(msgstore_read_all);
PG_FUNCTION_INFO_V1(msgstore_stream_state);

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

/*
 * The number of the consumer in a group of the given size that reads the
 * stream. The hash covers the part of the name after the first '-' up to the
 * first '+', so that streams whose ids differ only after a '+' share one
 * consumer; a name without '-' is hashed as a whole. Message DB computes the
 * same number.
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

/* Null is no limit. */
static int64
count_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	int64 count;

	if (PG_ARGISNULL(arg))
		return PG_INT64_MAX;
	count = PG_GETARG_INT64(arg);
	if (count < 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("argument \"%s\" is negative: %lld",
					name,
					(long long) count),
			 errdetail(
				 "The argument must be a number of events, or null for no limit.")));
	return count;
}

/* The arguments from "filters" on are types and metadata, which may be null. */
static Datum
return_rows(FunctionCallInfo fcinfo,
			Statement *statement,
			Datum *values,
			int filters)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	uint64 row;

	if (PG_ARGISNULL(filters) && PG_ARGISNULL(filters + 1))
		statement_execute(statement, values, NULL);
	else
		filter_execute(
			statement,
			values,
			PG_ARGISNULL(filters) ? NULL : PG_GETARG_ARRAYTYPE_P(filters),
			PG_ARGISNULL(filters + 1) ? NULL : PG_GETARG_JSONB_P(filters + 1));
	for (row = 0; row < SPI_processed; row++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
	return (Datum) 0;
}

/* read_stream(stream, from_version, max_events, types, metadata) */
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
	(void) return_rows(fcinfo, statement, values, 3);
	SPI_finish();
	return (Datum) 0;
}

/* read_category(category, after, max, member, size, types, …), read_all() */
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
	{
		streams_check_category(PG_GETARG_TEXT_PP(0));
		values[nvalues] = PG_GETARG_DATUM(0);
	}
	SPI_connect();
	/* Must come before the statement takes its snapshot. */
	values[2] = Int64GetDatum(
		streams_settled_position(by_category ? PG_GETARG_TEXT_PP(0) : NULL));
	(void) return_rows(fcinfo, statement, values, first + 4);
	SPI_finish();
	return (Datum) 0;
}

/* Checks member and size of a group; returns the number of values it set. */
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
				 "A consumer of a group needs both \"consumer_member\" and \"consumer_size\".")));
	member = PG_GETARG_INT64(first);
	size = PG_GETARG_INT64(first + 1);
	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("invalid consumer group size: %lld", (long long) size),
				 errdetail("The group size must be at least 1.")));
	if (member < 0 || member >= size)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("invalid member %lld of a consumer group of size %lld",
						(long long) member,
						(long long) size),
				 errdetail("The member must be between 0 and %lld.",
						   (long long) size - 1)));
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

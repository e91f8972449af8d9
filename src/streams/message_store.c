/*
 * streams/message_store.c: Message DB's write_message(), with its error texts
 * and notices.
 *
 * The other functions of the schema message_store are SQL
 * (sql/50_streams/80_message_store.sql). Message DB stores a message by an
 * INSERT, so a null id, name or type violates a constraint of its table.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "server/errors.h"
#include "streams/streams.h"

static void check_nulls(FunctionCallInfo fcinfo, const StreamEvent *event);
static void report_null(const char *column);
static bool is_on(const char *setting);
static void show_call(FunctionCallInfo fcinfo, int64 position);
static const char *argument_text(FunctionCallInfo fcinfo, int arg);

PG_FUNCTION_INFO_V1(msgstore_write_message);

/*
 * write_message(id, stream_name, type, data, metadata, expected_version), and
 * _insert_message(…, time)
 */
Datum
msgstore_write_message(PG_FUNCTION_ARGS)
{
	StreamEvent event = {0};

	event.has_expected = !PG_ARGISNULL(5);
	if (event.has_expected)
		event.expected = PG_GETARG_INT64(5) + 1;
	check_nulls(fcinfo, &event);
	event.stream = PG_GETARG_TEXT_PP(1);
	event.type = PG_GETARG_TEXT_PP(2);
	streams_check_not_kept(&event);
	event.event_id = DatumGetUUIDP(DirectFunctionCall1(
		uuid_in,
		CStringGetDatum(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
	if (!PG_ARGISNULL(3))
		event.data = PG_GETARG_JSONB_P(3);
	if (!PG_ARGISNULL(4))
		event.metadata = PG_GETARG_JSONB_P(4);
	event.created_at = PG_NARGS() > 6 && !PG_ARGISNULL(6)
						   ? PG_GETARG_TIMESTAMPTZ(6)
						   : GetCurrentTimestamp();
	streams_append(&event, CONFLICT_MESSAGE_STORE);
	if (is_on("message_store.debug_write") || is_on("message_store.debug"))
		show_call(fcinfo, event.version - 1);
	PG_RETURN_INT64(event.version - 1);
}

/* Message DB compares the version before it inserts. */
static void
check_nulls(FunctionCallInfo fcinfo, const StreamEvent *event)
{
	int64 version = 0;

	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1) && !PG_ARGISNULL(2))
		return;
	if (event->has_expected && !PG_ARGISNULL(1))
		version = streams_version(PG_GETARG_TEXT_PP(1));
	if (event->has_expected && !PG_ARGISNULL(1) && version != event->expected)
	{
		StreamEvent conflict = *event;

		conflict.stream = PG_GETARG_TEXT_PP(1);
		streams_raise_conflict(&conflict, version, CONFLICT_MESSAGE_STORE);
	}
	report_null(PG_ARGISNULL(1)	  ? "stream_name"
				: PG_ARGISNULL(2) ? "type"
								  : "id");
}

static void
report_null(const char *column)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_NOT_NULL_VIOLATION),
		 errmsg(
			 "null value in column \"%s\" of relation \"messages\" violates not-null constraint",
			 column),
		 err_generic_string(PG_DIAG_SCHEMA_NAME, "message_store"),
		 err_generic_string(PG_DIAG_TABLE_NAME, "messages"),
		 err_generic_string(PG_DIAG_COLUMN_NAME, column)));
}

/* Message DB compares the setting with this text. */
static bool
is_on(const char *setting)
{
	const char *value = GetConfigOption(setting, true, false);

	return value != NULL && strcmp(value, "on") == 0;
}

static void
show_call(FunctionCallInfo fcinfo, int64 position)
{
	static const char *const names[] =
		{"id", "stream_name", "type", "data", "metadata", "expected_version"};
	int i;

	/* A right-pointing guillemet. */
	ereport(NOTICE,
			(errmsg_internal("%s write_message",
							 pg_any_to_server("\xc2\xbb", 2, PG_UTF8))));
	for (i = 0; i < (int) lengthof(names); i++)
		ereport(NOTICE,
				(errmsg_internal("%s ($%d): %s",
								 names[i],
								 i + 1,
								 argument_text(fcinfo, i))));
	ereport(
		NOTICE,
		(errmsg_internal("_stream_version: %lld", (long long) position - 1)));
	ereport(NOTICE,
			(errmsg_internal("_next_position: %lld", (long long) position)));
}

/* The first three are text, the next two jsonb, the last a number. */
static const char *
argument_text(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return "<NULL>";
	if (arg < 3)
		return text_to_cstring(PG_GETARG_TEXT_PP(arg));
	if (arg < 5)
	{
		Jsonb *value = PG_GETARG_JSONB_P(arg);

		return JsonbToCString(NULL, &value->root, VARSIZE(value));
	}
	return psprintf("%lld", (long long) PG_GETARG_INT64(arg));
}

/*
 * maintenance/replay.c: the messages that the worker would make of events now.
 *
 * The worker's own code reads each event, so that a replay and the worker
 * cannot differ. Only the addresses differ: the log stores them as they were
 * normalized when the event came in, so they are normalized again from the
 * payload.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "channels/channels.h"
#include "conversations/event.h"
#include "inbox/payload.h"
#include "server/statement.h"

static Statement read_events = {
	.sql = "SELECT " EVENT_COLUMNS " FROM unnest($1, $2) AS e (tenant_id, id)"
		   " JOIN msgstore.event_log l"
		   " ON l.tenant_id = e.tenant_id AND l.id = e.id",
	.nargs = 2,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID},
	.table = "event_log"};

static void put_message(ReturnSetInfo *result, uint64 row);
static text *read_address(Jsonb *payload,
						  const Channel *channel,
						  const char *field,
						  text *logged);

PG_FUNCTION_INFO_V1(msgstore_messages_of);

/* Skips events whose channel no longer exists. */
Datum
msgstore_messages_of(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	MemoryContext per_event;
	uint64 row;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	statement_execute(&read_events, values, NULL);
	per_event = AllocSetContextCreate(CurrentMemoryContext,
									  "msgstore replayed event",
									  ALLOCSET_DEFAULT_SIZES);
	for (row = 0; row < SPI_processed; row++)
	{
		MemoryContext caller = MemoryContextSwitchTo(per_event);

		CHECK_FOR_INTERRUPTS();
		put_message(result, row);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(per_event);
	}
	SPI_finish();
	return (Datum) 0;
}

static void
put_message(ReturnSetInfo *result, uint64 row)
{
	ConversationMessage message = {0};
	const Channel *channel;
	Datum values[15];
	bool nulls[15] = {false};

	(void) event_read_message(row, &message);
	channel = channels_find(VARDATA_ANY(message.channel),
							VARSIZE_ANY_EXHDR(message.channel));
	if (channel == NULL)
		return;
	message.from = read_address(message.payload, channel, "from", message.from);
	message.to = read_address(message.payload, channel, "to", message.to);
	message_read_given(&message);
	values[0] = PointerGetDatum(message.tenant_id);
	values[1] = UUIDPGetDatum(&message.id);
	values[2] = PointerGetDatum(message.channel);
	values[3] = CStringGetTextDatum(channel->thread);
	message_set_key(channel, &message);
	values[4] = PointerGetDatum(message.conversation_key);
	values[5] = PointerGetDatum(message.from);
	values[6] = PointerGetDatum(message.to);
	values[7] = PointerGetDatum(message.provider_message_id);
	nulls[7] = message.provider_message_id == NULL;
	values[8] = PointerGetDatum(message.correlation_id);
	nulls[8] = message.correlation_id == NULL;
	values[9] = PointerGetDatum(message.body);
	values[10] = PointerGetDatum(message.attachments);
	nulls[10] = message.attachments == NULL;
	values[11] = TimestampTzGetDatum(message.timestamp);
	values[12] = PointerGetDatum(message.from_given);
	nulls[12] = message.from_given == NULL;
	values[13] = PointerGetDatum(message.to_given);
	nulls[13] = message.to_given == NULL;
	values[14] = PointerGetDatum(message.subject);
	nulls[14] = message.subject == NULL;
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* The logged one where the payload has none that is valid. */
static text *
read_address(Jsonb *payload,
			 const Channel *channel,
			 const char *field,
			 text *logged)
{
	JsonbValue value;

	if (!inbox_find_field(payload, field, &value) || value.type != jbvString)
		return logged;
	return message_identity(channel,
							value.val.string.val,
							value.val.string.len,
							logged);
}

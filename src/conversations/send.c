/*
 * conversations/send.c: stores outbound messages.
 *
 * send() validates by the rules of the inbox and shares its idempotency keys.
 * The message, its payload and its place in the outbox are rows of their own:
 * messages stays narrow for those who list it, and outbox for those who claim
 * from it. The last two are inserted without a statement, see
 * server/row_insert.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "channels/channels.h"
#include "conversations/consent.h"
#include "conversations/conversations.h"
#include "conversations/merge.h"
#include "inbox/check.h"
#include "inbox/inbox.h"
#include "inbox/keys.h"
#include "inbox/uuid7.h"
#include "server/row_statement.h"
#include "server/settings.h"
#include "stats/stats.h"
#include "tenancy/placement.h"
#include "wake/outbox.h"

/* The columns of outbound_payloads, in the order of sql/45_outbox. */
enum
{
	PAYLOAD_TENANT_ID,
	PAYLOAD_MESSAGE_ID,
	PAYLOAD_PAYLOAD,
	PAYLOAD_COLUMNS
};

/* The columns of outbox. */
enum
{
	OUTBOX_TENANT_ID,
	OUTBOX_MESSAGE_ID,
	OUTBOX_CONVERSATION_ID,
	OUTBOX_NEXT_ATTEMPT_AT,
	OUTBOX_SENDER_ID,
	OUTBOX_ACCOUNT,
	OUTBOX_COLUMNS
};

static void send_item(InboxItem *item);
static void add_outbound(const InboxItem *item);
static void
read_payload_row(const void *rows, int i, Datum *values, bool *nulls);
static void queue(const ConversationMessage *message);
static void
read_outbox_row(const void *rows, int i, Datum *values, bool *nulls);
static text *optional_text(const char *s);

PG_FUNCTION_INFO_V1(msgstore_send);

Datum
msgstore_send(PG_FUNCTION_ARGS)
{
	static TupleDesc row = NULL;
	InboxItem item;

	PreventCommandIfReadOnly("send()");
	inbox_take_arguments(fcinfo, &item);
	send_item(&item);
	return inbox_return_outcome(fcinfo, &item, &row);
}

/* Without an idempotency key, the content is the key. */
static void
send_item(InboxItem *item)
{
	MemoryContext caller = CurrentMemoryContext;

	placement_check_own();
	if (!inbox_check_item(item, false))
		return;
	inbox_make_uuid7(&item->id);
	SPI_connect();
	/* What is allocated for the item must outlive the SPI connection. */
	MemoryContextSwitchTo(caller);
	if (item->idempotency_key != NULL)
		inbox_claim_keys(&item, 1, "outbound");
	else
		inbox_claim_content(item, "content");
	if (item->refusal == NULL && !item->duplicate)
		add_outbound(item);
	merge_without_worker();
	SPI_finish();
}

static void
add_outbound(const InboxItem *item)
{
	ConversationMessage message = {
		.id = item->id,
		.inbound = false,
		.tenant_id = cstring_to_text(msgstore_tenant_id),
		.channel = cstring_to_text(item->channel),
		.from = item->from,
		.to = item->to,
		.correlation_id = optional_text(item->correlation_id),
		.body = cstring_to_text(""),
		.payload = item->payload,
		.timestamp =
			message_limit_timestamp(item->timestamp,
									GetCurrentTransactionStartTimestamp()),
	};
	int created;

	if (item->body.type == jbvString)
		message.body = cstring_to_text_with_len(item->body.val.string.val,
												item->body.val.string.len);
	if (item->attachments.type == jbvBinary)
	{
		JsonbValue list = item->attachments;

		message.attachments = JsonbValueToJsonb(&list);
	}
	consent_check(&message);
	message_read_given(&message);
	created = conversations_add(&message, 1, true);
	row_insert_any("outbound_payloads",
				   PAYLOAD_COLUMNS,
				   read_payload_row,
				   &message,
				   1);
	queue(&message);
	stats_count_for(STATS_MESSAGES_SENT, message.tenant_id, message.channel, 1);
	stats_count(STATS_CONVERSATIONS_CREATED, created);
	stats_count(STATS_CONVERSATIONS_REUSED, 1 - created);
}

static void
read_payload_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const ConversationMessage *message = (const ConversationMessage *) rows + i;

	memset(nulls, false, sizeof(bool) * PAYLOAD_COLUMNS);
	values[PAYLOAD_TENANT_ID] = PointerGetDatum(message->tenant_id);
	values[PAYLOAD_MESSAGE_ID] = UUIDPGetDatum(&message->id);
	values[PAYLOAD_PAYLOAD] = JsonbPGetDatum(message->payload);
}

/* Messages of a channel without a provider are not sent. */
static void
queue(const ConversationMessage *message)
{
	const Channel *channel = channels_get(VARDATA_ANY(message->channel),
										  VARSIZE_ANY_EXHDR(message->channel));

	if (!channel->has_provider)
		return;
	row_insert_any("outbox", OUTBOX_COLUMNS, read_outbox_row, message, 1);
	wake_outbox_at_commit();
}

/* Only messages of strict_order channels have a conversation in the outbox. */
static void
read_outbox_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const ConversationMessage *message = (const ConversationMessage *) rows + i;
	const Channel *channel = channels_get(VARDATA_ANY(message->channel),
										  VARSIZE_ANY_EXHDR(message->channel));

	memset(nulls, true, sizeof(bool) * OUTBOX_COLUMNS);
	nulls[OUTBOX_TENANT_ID] = false;
	nulls[OUTBOX_MESSAGE_ID] = false;
	nulls[OUTBOX_CONVERSATION_ID] = !channel->strict_order;
	values[OUTBOX_TENANT_ID] = PointerGetDatum(message->tenant_id);
	values[OUTBOX_MESSAGE_ID] = UUIDPGetDatum(&message->id);
	values[OUTBOX_CONVERSATION_ID] = UUIDPGetDatum(&message->conversation_id);
}

static text *
optional_text(const char *s)
{
	return s != NULL ? cstring_to_text(s) : NULL;
}

/*
 * backend_payload.c: an event as it comes in: channel, key and payload.
 *
 * An input is a line with the channel, a line with the idempotency key, and
 * the payload. Whatever it holds, it is taken or refused, and never an error:
 * an error would cost the other events of its batch a second try.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "address/address.h"
#include "backend.h"
#include "channels/channels.h"
#include "inbox/check.h"
#include "inbox/payload.h"
#include "server/errors.h"
#include "server/settings.h"

/* What a message may quote of the input is short. */
#define MESSAGE_BYTES_MAX 1024

static void check_size(Jsonb *payload);
static void check_taken(const InboxItem *item);
static void check_address(const Channel *channel, const text *address);
static void check_refusal(const InboxRefusal *refusal);
static bool is_utf8(const char *s, int len);

void
backend_payload(const char *data, size_t size)
{
	InboxItem item = {.ordinal = 1};
	Jsonb *payload;

	item.channel = backend_take_line(&data, &size);
	item.idempotency_key = backend_take_line(&data, &size);
	if (item.idempotency_key[0] == '\0')
		item.idempotency_key = NULL;
	payload = backend_parse_json(data, size);
	item.payload = payload;
	if (payload != NULL)
		check_size(payload);
	if (inbox_check_item(&item, true))
		check_taken(&item);
	else
		check_refusal(item.refusal);
	free(payload);
}

/* As the server prints it, without the spaces that it prints. */
static void
check_size(Jsonb *payload)
{
	bool secret;
	Size measured;
	char *text;
	Size bytes = 0;
	bool in_string = false;

	if (JB_ROOT_IS_SCALAR(payload))
		return;
	measured = inbox_measure_payload(payload, &secret);
	if (measured > (Size) msgstore_max_payload_bytes)
		return;
	text = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '"')
			in_string = !in_string;
		if (in_string && *c == '\\')
		{
			c++;
			bytes++;
		}
		bytes += in_string || *c != ' ';
	}
	PROMISE(measured == bytes);
}

static void
check_taken(const InboxItem *item)
{
	const Channel *channel = channels_get(item->channel, strlen(item->channel));

	PROMISE(item->refusal == NULL);
	check_address(channel, item->from);
	check_address(channel, item->to);
	PROMISE(item->provider_message_id != NULL);
	PROMISE(VARSIZE_ANY_EXHDR(item->provider_message_id) > 0);
	PROMISE(IS_VALID_TIMESTAMP(item->timestamp));
	if (item->body.type == jbvString)
		PROMISE(is_utf8(item->body.val.string.val, item->body.val.string.len));
	else
		PROMISE(item->body.type == jbvNull && !channel->body_required);
}

/* It is present, can be stored, and is one normalized address. */
static void
check_address(const Channel *channel, const text *address)
{
	const char *expected;
	AddressVerdict verdict;
	text *again;

	PROMISE(address != NULL);
	PROMISE(is_utf8(VARDATA_ANY(address), VARSIZE_ANY_EXHDR(address)));
	PROMISE(inbox_address_fault(address, &expected) == NULL);
	PROMISE(strstr(text_to_cstring(address), "<->") == NULL);
	again = address_normalize(channel,
							  VARDATA_ANY(address),
							  VARSIZE_ANY_EXHDR(address),
							  &verdict);
	PROMISE(verdict == ADDRESS_SINGLE);
	PROMISE(address_compare(address, again) == 0);
}

static void
check_refusal(const InboxRefusal *refusal)
{
	PROMISE(refusal != NULL);
	PROMISE(refusal->sqlstate == ERRCODE_MS_BAD_REQUEST ||
			refusal->sqlstate == ERRCODE_MS_TOO_LARGE);
	PROMISE(refusal->message != NULL && refusal->message[0] != '\0');
	PROMISE(strlen(refusal->message) <= MESSAGE_BYTES_MAX);
	PROMISE(is_utf8(refusal->message, strlen(refusal->message)));
}

static bool
is_utf8(const char *s, int len)
{
	return pg_verify_mbstr(PG_UTF8, s, len, true);
}

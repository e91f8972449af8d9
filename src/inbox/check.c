/*
 * inbox/check.c: validates an item.
 *
 * A refusal is data, not an error, so that a bad item of a batch costs the
 * others neither a subtransaction nor the batch. Only the first fault is
 * reported, in this order: channel, idempotency key, payload, size, type,
 * addresses, provider message id, timestamp, body, attachments.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "address/address.h"
#include "channels/channels.h"
#include "inbox/check.h"
#include "inbox/identity.h"
#include "inbox/payload.h"
#include "inbox/timestamp.h"
#include "server/errors.h"
#include "server/settings.h"

#define MAX_KEY_BYTES 255

/* Two addresses and a channel name must fit into an index entry. */
#define MAX_ADDRESS_BYTES 510

/* DETAIL texts that several checks share. */
static const char *const expected_text =
	"The field must be a non-blank string.";
static const char *const expected_payload =
	"The payload must be a JSON object.";
static const char *const expected_address =
	"A normalized address must have at most 510 bytes and must not contain \"<->\".";
static const char *const expected_list =
	"The field must be null or an array of http or https URLs.";

/* Error messages show this much of a refused value. */
#define SHOWN_BYTES 64

static bool refuse_field(InboxItem *item,
						 const char *field,
						 const char *what,
						 const char *expected);
static bool refuse_channel(InboxItem *item);
static char *show(const char *s, int len);
static bool check_bounds(InboxItem *item);
static bool check_payload(InboxItem *item);
static bool check_type(InboxItem *item, const Channel **channel);
static bool take_string(InboxItem *item, const char *field, JsonbValue *value);
static bool check_addresses(InboxItem *item, const Channel *channel);
static bool check_address(InboxItem *item,
						  const Channel *channel,
						  const char *field,
						  text **normalized);
static bool check_provider_id(InboxItem *item, const Channel *channel);
static bool check_timestamp(InboxItem *item);
static bool check_body(InboxItem *item, const Channel *channel);
static bool check_attachments(InboxItem *item, const Channel *channel);
static bool check_attachment_list(InboxItem *item);
static bool is_stored_file(const char *s, int len);
static bool is_web_url(const char *s, int len);

bool
inbox_check_item(InboxItem *item, bool inbound)
{
	const Channel *channel;
	bool has_secret;
	Size bytes;

	if (!check_bounds(item) || !check_payload(item))
		return false;
	channel = channels_find(item->channel, strlen(item->channel));
	if (channel == NULL)
		return refuse_channel(item);
	item->checked = STATS_REFUSED_SIZE;
	bytes = inbox_measure_payload(item->payload, &has_secret);
	if (bytes > (Size) msgstore_max_payload_bytes)
		return inbox_refuse(
			item,
			ERRCODE_MS_TOO_LARGE,
			NULL,
			"Send a smaller payload or raise \"msgstore.max_payload_bytes\".",
			"payload of %zu bytes exceeds the limit of %d bytes",
			bytes,
			msgstore_max_payload_bytes);
	if (has_secret)
		item->payload = inbox_redact_payload(item->payload);
	if (!check_type(item, &channel) || !check_addresses(item, channel) ||
		(inbound && !check_provider_id(item, channel)) ||
		!check_timestamp(item) || !check_body(item, channel) ||
		!check_attachments(item, channel))
		return false;
	/* Only its idempotency key can still refuse it. */
	item->checked = STATS_REFUSED_KEY;
	return true;
}

static bool
refuse_field(InboxItem *item,
			 const char *field,
			 const char *what,
			 const char *expected)
{
	return inbox_refuse(item,
						ERRCODE_MS_BAD_REQUEST,
						expected,
						NULL,
						"field \"%s\" %s",
						field,
						what);
}

static bool
refuse_channel(InboxItem *item)
{
	item->checked = STATS_REFUSED_CHANNEL;
	return inbox_refuse(item,
						ERRCODE_MS_BAD_REQUEST,
						channels_list(),
						"Insert a row for it into msgstore.channels.",
						"channel \"%s\" does not exist",
						show(item->channel, strlen(item->channel)));
}

/* The beginning of the value, cut at a character boundary. */
static char *
show(const char *s, int len)
{
	if (len <= SHOWN_BYTES)
		return pnstrdup(s, len);
	return psprintf("%.*s...", pg_mbcliplen(s, len, SHOWN_BYTES), s);
}

static bool
check_bounds(InboxItem *item)
{
	item->checked = STATS_REFUSED_CHANNEL;
	if (item->channel == NULL)
		return refuse_field(item, "channel", "is missing", expected_text);
	item->checked = STATS_REFUSED_KEY;
	if (item->idempotency_key == NULL)
		return true;
	if (address_is_blank(item->idempotency_key, strlen(item->idempotency_key)))
		return refuse_field(item, "idempotency_key", "is blank", expected_text);
	if (strlen(item->idempotency_key) > MAX_KEY_BYTES)
		return inbox_refuse(
			item,
			ERRCODE_MS_BAD_REQUEST,
			NULL,
			NULL,
			"idempotency key of %zu bytes exceeds the limit of %d bytes",
			strlen(item->idempotency_key),
			MAX_KEY_BYTES);
	return true;
}

static bool
check_payload(InboxItem *item)
{
	item->checked = STATS_REFUSED_PAYLOAD;
	if (item->payload == NULL)
		return refuse_field(item, "payload", "is missing", expected_payload);
	if (!JB_ROOT_IS_OBJECT(item->payload))
		return refuse_field(item,
							"payload",
							"is not a JSON object",
							expected_payload);
	return true;
}

/* The type in the payload may select another channel. */
static bool
check_type(InboxItem *item, const Channel **channel)
{
	char *name = NULL;
	JsonbValue type;
	int i;

	item->checked = STATS_REFUSED_TYPE;
	if ((*channel)->ntypes == 0 ||
		!inbox_find_field(item->payload, "type", &type))
		return true;
	if (type.type != jbvString)
		return refuse_field(item, "type", "is not a string", expected_text);
	for (i = 0; i < (*channel)->ntypes && name == NULL; i++)
	{
		const char *candidate = (*channel)->types[i];

		if ((int) strlen(candidate) == type.val.string.len &&
			pg_strncasecmp(candidate,
						   type.val.string.val,
						   type.val.string.len) == 0)
			name = pstrdup(candidate);
	}
	if (name == NULL)
		return inbox_refuse(
			item,
			ERRCODE_MS_BAD_REQUEST,
			"The types that a channel accepts are listed in msgstore.channels.",
			NULL,
			"channel \"%s\" has no type \"%s\" (field \"type\")",
			item->channel,
			show(type.val.string.val, type.val.string.len));
	item->channel = name;
	*channel = channels_find(name, strlen(name));
	return *channel != NULL || refuse_channel(item);
}

static bool
take_string(InboxItem *item, const char *field, JsonbValue *value)
{
	if (!inbox_find_field(item->payload, field, value))
		return refuse_field(item, field, "is missing", expected_text);
	if (value->type != jbvString)
		return refuse_field(item, field, "is not a string", expected_text);
	if (address_is_blank(value->val.string.val, value->val.string.len))
		return refuse_field(item, field, "is blank", expected_text);
	return true;
}

static bool
check_addresses(InboxItem *item, const Channel *channel)
{
	item->checked = STATS_REFUSED_ADDRESS;
	return check_address(item, channel, "from", &item->from) &&
		   check_address(item, channel, "to", &item->to);
}

static bool
check_address(InboxItem *item,
			  const Channel *channel,
			  const char *field,
			  text **normalized)
{
	JsonbValue value;
	AddressVerdict verdict;
	const char *fault;
	const char *expected;
	const char *hint;

	if (!take_string(item, field, &value))
		return false;
	*normalized = address_normalize(channel,
									value.val.string.val,
									value.val.string.len,
									&verdict);
	fault = address_fault(channel, verdict, &expected, &hint);
	if (fault != NULL)
		return inbox_refuse(item,
							ERRCODE_MS_BAD_REQUEST,
							expected,
							hint,
							"field \"%s\" %s",
							field,
							fault);
	fault = inbox_address_fault(*normalized, &expected);
	return fault == NULL || refuse_field(item, field, fault, expected);
}

/*
 * Conversation keys join two addresses with "<->". An address that contains it
 * could produce the key of somebody else's conversation.
 */
const char *
inbox_address_fault(const text *normalized, const char **expected)
{
	const char *s = VARDATA_ANY(normalized);
	int len = VARSIZE_ANY_EXHDR(normalized);

	*expected = expected_text;
	if (address_is_blank(s, len))
		return "contains no address";
	*expected = expected_address;
	if (len > MAX_ADDRESS_BYTES)
		return "is longer than 510 bytes";
	for (; len >= 3; s++, len--)
	{
		if (memcmp(s, "<->", 3) == 0)
			return "contains \"<->\"";
	}
	return NULL;
}

static bool
check_provider_id(InboxItem *item, const Channel *channel)
{
	JsonbValue value;

	item->checked = STATS_REFUSED_PROVIDER_ID;
	if (item->mock &&
		!inbox_find_field(item->payload, channel->provider_id_field, &value))
	{
		/* Its identity does not matter, but the column is not null. */
		item->identity = inbox_make_identity(item, channel);
		return true;
	}
	if (!take_string(item, channel->provider_id_field, &value))
		return false;
	if (value.val.string.len > MAX_ADDRESS_BYTES)
		return refuse_field(
			item,
			channel->provider_id_field,
			"is longer than 510 bytes",
			"A provider message id must have at most 510 bytes.");
	item->provider_message_id =
		cstring_to_text_with_len(value.val.string.val, value.val.string.len);
	item->identity = inbox_make_identity(item, channel);
	return true;
}

static bool
check_timestamp(InboxItem *item)
{
	JsonbValue value;

	item->checked = STATS_REFUSED_TIMESTAMP;
	if (!take_string(item, "timestamp", &value))
		return false;
	if (inbox_parse_timestamp(value.val.string.val,
							  value.val.string.len,
							  &item->timestamp))
		return true;
	return inbox_refuse(
		item,
		ERRCODE_MS_BAD_REQUEST,
		"A timestamp must be in ISO 8601 format with a time zone, such as 2024-11-01T14:00:00Z, and in the years 0001 to 9999 UTC.",
		NULL,
		"\"%s\" in field \"timestamp\" is not a timestamp",
		show(value.val.string.val, value.val.string.len));
}

static bool
check_body(InboxItem *item, const Channel *channel)
{
	item->checked = STATS_REFUSED_BODY;
	if (channel->body_required && !item->relaxed)
		return take_string(item, "body", &item->body);
	if (!inbox_find_field(item->payload, "body", &item->body))
		item->body.type = jbvNull;
	else if (item->body.type != jbvString)
		return refuse_field(item,
							"body",
							"is not a string",
							"The field must be a string or null.");
	return true;
}

static bool
check_attachments(InboxItem *item, const Channel *channel)
{
	JsonbContainer *list;
	int limit =
		item->relaxed ? item->max_attachments : msgstore_max_attachments;
	int n = 0;

	item->checked = STATS_REFUSED_ATTACHMENTS;
	item->attachments.type = jbvNull;
	if (inbox_find_field(item->payload, "attachments", &item->attachments))
	{
		list = item->attachments.val.binary.data;
		if (item->attachments.type != jbvBinary || !JsonContainerIsArray(list))
			return refuse_field(item,
								"attachments",
								"is not an array of strings",
								expected_list);
		n = JsonContainerSize(list);
	}
	if (n == 0 && channel->attachments == ATTACHMENTS_REQUIRED &&
		!item->relaxed)
		return refuse_field(
			item,
			"attachments",
			"is empty",
			"A message of this channel must have at least one attachment.");
	if (n > 0 && channel->attachments == ATTACHMENTS_NONE && !item->relaxed)
		return inbox_refuse(
			item,
			ERRCODE_MS_BAD_REQUEST,
			NULL,
			NULL,
			"field \"attachments\" is not empty, but channel \"%s\" does not allow attachments",
			item->channel);
	if (n > limit)
		return inbox_refuse(
			item,
			ERRCODE_MS_BAD_REQUEST,
			NULL,
			"Send fewer attachments or raise \"msgstore.max_attachments\".",
			"%d attachments in field \"attachments\" exceed the limit of %d",
			n,
			limit);
	return n == 0 || check_attachment_list(item);
}

static bool
check_attachment_list(InboxItem *item)
{
	JsonbContainer *list = item->attachments.val.binary.data;
	int n = JsonContainerSize(list);
	int i;

	for (i = 0; i < n; i++)
	{
		JsonbValue *url = getIthJsonbValueFromContainer(list, i);

		if (url->type != jbvString)
			return refuse_field(item,
								"attachments",
								"is not an array of strings",
								expected_list);
		if (!is_web_url(url->val.string.val, url->val.string.len) &&
			!is_stored_file(url->val.string.val, url->val.string.len))
			return inbox_refuse(item,
								ERRCODE_MS_BAD_REQUEST,
								"An attachment must be an http or https URL.",
								NULL,
								"\"%s\" in field \"attachments\" is not a URL",
								show(url->val.string.val, url->val.string.len));
	}
	return true;
}

/*
 * A path of the gateway, which a source gives a file that it has stored; a
 * message that is sent can forward it.
 */
static bool
is_stored_file(const char *s, int len)
{
	static const char path[] = "/api/attachments/";
	int start = (int) strlen(path);

	return len == start + 36 && strncmp(s, path, start) == 0;
}

/* http or https, a host, and no white space or control characters. */
static bool
is_web_url(const char *s, int len)
{
	int start;
	int i;

	if (len > 8 && pg_strncasecmp(s, "https://", 8) == 0)
		start = 8;
	else if (len > 7 && pg_strncasecmp(s, "http://", 7) == 0)
		start = 7;
	else
		return false;
	if (strchr("/?#:@", s[start]) != NULL)
		return false;
	for (i = start; i < len; i++)
	{
		if ((unsigned char) s[i] <= ' ' || s[i] == 0x7f ||
			strchr("\"<>\\", s[i]) != NULL)
			return false;
	}
	return true;
}

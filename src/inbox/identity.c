/*
 * inbox/identity.c: what tells events with the same provider message id apart.
 *
 * A provider's id need not be unique: the Message-ID of an e-mail is the same
 * in every mailbox that receives it, and two providers on one channel can use
 * the same id. So a channel can name further fields of the payload. Their
 * values are kept in a column of their own, so that the id stays what the
 * provider said, for everyone who reads it.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "address/address.h"
#include "inbox/identity.h"
#include "inbox/payload.h"

/* Longer identities are replaced by their digest: the index limits them. */
#define MAX_IDENTITY_BYTES 510

static text *empty_text(void);
static char *read_value(const InboxItem *item, const char *field);
static char *write_value(JsonbValue *value);
static text *digest(const StringInfo identity);

/* A JSON array of strings, so that different values never look the same. */
text *
inbox_make_identity(const InboxItem *item, const Channel *channel)
{
	StringInfoData identity;
	int i;

	if (channel->nprovider_id_fields == 0)
		return empty_text();
	initStringInfo(&identity);
	for (i = 0; i < channel->nprovider_id_fields; i++)
	{
		char *value = read_value(item, channel->provider_id_fields[i]);

		appendStringInfoChar(&identity, i == 0 ? '[' : ',');
		if (value == NULL)
			appendStringInfoString(&identity, "null");
		else
			escape_json(&identity, value);
	}
	appendStringInfoChar(&identity, ']');
	if (identity.len > MAX_IDENTITY_BYTES)
		return digest(&identity);
	return cstring_to_text_with_len(identity.data, identity.len);
}

/* By provider message id, channel and identity. No id comes last. */
int
inbox_compare_events(const InboxItem *left, const InboxItem *right)
{
	int order = (left->provider_message_id == NULL) -
				(right->provider_message_id == NULL);

	if (order != 0 || left->provider_message_id == NULL)
		return order;
	order =
		address_compare(left->provider_message_id, right->provider_message_id);
	if (order == 0)
		order = strcmp(left->channel, right->channel);
	if (order == 0 && left->identity != right->identity)
		order = address_compare(left->identity, right->identity);
	return order;
}

/* One for all items: it is never changed or freed. */
static text *
empty_text(void)
{
	static varattrib_4b empty;

	SET_VARSIZE(&empty, VARHDRSZ);
	return (text *) &empty;
}

/* The value as text, an address normalized; NULL when absent. */
static char *
read_value(const InboxItem *item, const char *field)
{
	JsonbValue value;

	if (strcmp(field, "from") == 0)
		return text_to_cstring(item->from);
	if (strcmp(field, "to") == 0)
		return text_to_cstring(item->to);
	if (!inbox_find_field(item->payload, field, &value))
		return NULL;
	return write_value(&value);
}

/* Values that are equal as jsonb give the same text. */
static char *
write_value(JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return numeric_normalize(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return JsonbToCString(NULL,
								  value->val.binary.data,
								  value->val.binary.len);
	}
}

static text *
digest(const StringInfo identity)
{
	Datum bytes = PointerGetDatum(
		cstring_to_text_with_len(identity->data, identity->len));

	return DatumGetTextPP(
		DirectFunctionCall2(binary_encode,
							DirectFunctionCall1(sha256_bytea, bytes),
							CStringGetTextDatum("hex")));
}

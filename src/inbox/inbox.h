/*
 * inbox/inbox.h: what is asked to be stored, how it is checked, what became of it.
 */
#ifndef INBOX_H
#define INBOX_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Why something was not taken: data, so that its neighbours are. */
typedef struct InboxRefusal
{
	int sqlstate;
	char *message;
	char *detail; /* or NULL */
	char *hint;	  /* or NULL */
} InboxRefusal;

typedef struct InboxItem
{
	int ordinal; /* its place in the call, from 1 */

	/* as given; strings are NULL when absent */
	char *channel; /* after the check the channel the type chose */
	Jsonb *payload;
	char *idempotency_key;
	char *correlation_id;
	bool mock; /* an injected event, may lack the provider's id */

	/* made by inbox_check_item() */
	text *from; /* normalized */
	text *to;
	text *provider_message_id; /* NULL when absent, and of sends */
	JsonbValue body;		   /* inside the payload; jbvNull when absent */
	JsonbValue attachments;	   /* inside the payload; jbvNull when absent */
	TimestampTz timestamp;

	/* the outcome: a refusal, or the id of what is stored */
	InboxRefusal *refusal;
	pg_uuid_t id;
	bool duplicate;			 /* id is the first one's, nothing was stored */
	struct InboxItem *first; /* of this call, with the same idempotency key */
	bool stored;			 /* in the log and the queue, by this call */
	int16 lane;				 /* of what is stored: see wake/lanes.h */
} InboxItem;

/* The item that the arguments (channel, payload, two keys) of a call make. */
extern void inbox_take_arguments(FunctionCallInfo fcinfo, InboxItem *item);

/* The row (id, duplicate) of the item, or its refusal as an error. */
extern Datum inbox_return_outcome(FunctionCallInfo fcinfo,
								  const InboxItem *item);

/* Checks and completes the item; false: item->refusal says why not. */
extern bool inbox_check_item(InboxItem *item, bool inbound);

/*
 * NULL, or why the normalized address cannot be one of a message's; expected
 * then says what it should be.
 */
extern const char *inbox_address_fault(const text *normalized,
									   const char **expected);

/* Sets the refusal; returns false, so that a check ends with it. */
extern bool inbox_refuse(InboxItem *item,
						 int sqlstate,
						 const char *detail,
						 const char *hint,
						 const char *format,
						 ...) pg_attribute_printf(5, 6);

/* A key of the payload's top level; false when absent or JSON null. */
extern bool
inbox_find_field(Jsonb *payload, const char *field, JsonbValue *value);

/*
 * Bytes of the payload as JSON text without optional white space. Beyond
 * msgstore.max_payload_bytes it may be less: then it is not read to its end,
 * and has_redacted_key says nothing.
 */
extern Size inbox_measure_payload(Jsonb *payload, bool *has_redacted_key);

/* Those of its numbers alone, counted until they are more than the limit. */
extern Size inbox_measure_numbers(Jsonb *payload, Size limit);

/* A copy in which the values of msgstore.redact_keys are "***". */
extern Jsonb *inbox_redact_payload(Jsonb *payload);

/* The assign hook of msgstore.redact_keys. */
extern void inbox_assign_redact_keys(const char *value, void *extra);

/* An ISO 8601 / RFC 3339 instant with its zone; false when it is none. */
extern bool inbox_parse_timestamp(const char *s, int len, TimestampTz *instant);

/*
 * Claims the idempotency keys of the items that have one, in one scope, for
 * the ids that the items hold. An item whose key is taken becomes a duplicate
 * with the first one's id, or is refused when its content differs. An item
 * with the key of an earlier item of this call has it in its field first.
 */
extern void inbox_claim_keys(InboxItem **items, int n, const char *scope);

/* Claims the item's content instead, for good. */
extern void inbox_claim_content(InboxItem *item, const char *scope);

/* The key the item claimed stands for the id it now holds. */
extern void inbox_correct_key(const InboxItem *item, const char *scope);

/* Refuses an item whose key stands for another request. */
extern void inbox_refuse_key(InboxItem *item);

#endif /* INBOX_H */

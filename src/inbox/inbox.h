/*
 * inbox/inbox.h: items to store, how they are validated, and what became of
 * them.
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

/* Why an item was refused: data, so that the other items are stored. */
typedef struct InboxRefusal
{
	int sqlstate;
	char *message;
	char *detail; /* or NULL */
	char *hint;	  /* or NULL */
} InboxRefusal;

typedef struct InboxItem
{
	int ordinal; /* position in the call, from 1 */

	/* arguments; strings are NULL when absent */
	char *channel; /* after the check, the channel that the type selects */
	Jsonb *payload;
	char *idempotency_key;
	char *correlation_id;
	bool mock; /* may lack the provider message id */

	/* set by inbox_check_item() */
	text *from; /* normalized */
	text *to;
	text *provider_message_id; /* NULL when absent, and for send() */
	JsonbValue body;		   /* inside the payload; jbvNull when absent */
	JsonbValue attachments;	   /* inside the payload; jbvNull when absent */
	TimestampTz timestamp;

	/* outcome: a refusal, or the id of what is stored */
	InboxRefusal *refusal;
	pg_uuid_t id;
	bool duplicate;			 /* nothing was stored, id is the first item's */
	struct InboxItem *first; /* item of this call with the same key */
	bool stored;			 /* by this call */
	int16 lane;				 /* set if stored; see wake/lanes.h */
} InboxItem;

/*
 * Makes an item of a function's first four arguments: channel, payload,
 * idempotency key and correlation id.
 */
extern void inbox_take_arguments(FunctionCallInfo fcinfo, InboxItem *item);

/* Returns the row (id, duplicate) of the item, or raises its refusal. */
extern Datum inbox_return_outcome(FunctionCallInfo fcinfo,
								  const InboxItem *item);

/* Validates and completes the item; false if it was refused. */
extern bool inbox_check_item(InboxItem *item, bool inbound);

/*
 * Returns what is wrong with a normalized address, and in expected what it
 * must be; NULL if the address is valid.
 */
extern const char *inbox_address_fault(const text *normalized,
									   const char **expected);

/* Sets the refusal; returns false, so that a check can return its result. */
extern bool inbox_refuse(InboxItem *item,
						 int sqlstate,
						 const char *detail,
						 const char *hint,
						 const char *format,
						 ...) pg_attribute_printf(5, 6);

/* Finds a top-level field; false when it is absent or JSON null. */
extern bool
inbox_find_field(Jsonb *payload, const char *field, JsonbValue *value);

/*
 * Returns the bytes of the payload as JSON text without optional white space.
 * If that exceeds msgstore.max_payload_bytes, the result may be too low and
 * has_redacted_key wrong, because the payload is not read to its end.
 */
extern Size inbox_measure_payload(Jsonb *payload, bool *has_redacted_key);

/*
 * Returns the bytes of its numbers alone, counted until they exceed the limit.
 */
extern Size inbox_measure_numbers(Jsonb *payload, Size limit);

/* Returns a copy in which the values of msgstore.redact_keys are "***". */
extern Jsonb *inbox_redact_payload(Jsonb *payload);

/* Assign hook of msgstore.redact_keys. */
extern void inbox_assign_redact_keys(const char *value, void *extra);

/* Parses an ISO 8601 / RFC 3339 time with a zone; false if it is not one. */
extern bool inbox_parse_timestamp(const char *s, int len, TimestampTz *instant);

/*
 * Claims the idempotency keys of the items for their ids, within a scope. An
 * item whose key is taken becomes a duplicate with the id of the first
 * request, or is refused if its content differs. The field first of an item
 * points to the earlier item of this call that has the same key.
 */
extern void inbox_claim_keys(InboxItem **items, int n, const char *scope);

/* Claims the content of the item instead of a key, without expiry. */
extern void inbox_claim_content(InboxItem *item, const char *scope);

/* Stores the current id of the item under the key that it has claimed. */
extern void inbox_correct_key(const InboxItem *item, const char *scope);

/* Refuses an item whose key was used for another request. */
extern void inbox_refuse_key(InboxItem *item);

#endif /* INBOX_H */

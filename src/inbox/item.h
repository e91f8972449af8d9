/*
 * inbox/item.h: an item to store, and what became of it.
 */
#ifndef INBOX_ITEM_H
#define INBOX_ITEM_H

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "stats/stats.h"

/* Why an item was refused: data, so that the other items are stored. */
typedef struct InboxRefusal
{
	int sqlstate;
	char *message;
	char *detail; /* or NULL */
	char *hint;	  /* or NULL */
} InboxRefusal;

/* See conflicts.c. */
typedef struct InboxConflict InboxConflict;

typedef struct InboxItem
{
	int ordinal; /* position in the call, from 1 */

	/* arguments; strings are NULL when absent */
	const char *tenant; /* NULL: the session's */
	char *channel;		/* after the check, the channel that the type selects */
	Jsonb *payload;
	char *idempotency_key;
	char *correlation_id;
	bool mock; /* may lack the provider message id */
	/* needs no body or attachments, whatever the channel says */
	bool relaxed;
	int max_attachments; /* if relaxed, in place of the setting */

	/* set by inbox_check_item() */
	text *from; /* normalized */
	text *to;
	text *provider_message_id; /* NULL when absent, and for send() */
	text *identity;			   /* with provider_message_id; see identity.h */
	JsonbValue body;		   /* inside the payload; jbvNull when absent */
	JsonbValue attachments;	   /* inside the payload; jbvNull when absent */
	TimestampTz timestamp;

	StatsCounter checked; /* what is being checked: counts a refusal */

	/* outcome: a refusal, or the id of what is stored */
	InboxRefusal *refusal;
	pg_uuid_t id;
	bool duplicate;			 /* nothing was stored, id is the first item's */
	struct InboxItem *first; /* item of this call with the same key */
	InboxConflict *conflict; /* a duplicate with other content */
	bool stored;			 /* by this call */
	int16 lane;				 /* set if stored; see wake/lanes.h */
	ItemPointerData place;	 /* of the row, while a batch is inserted */
} InboxItem;

/* Sets the refusal; returns false, so that a check can return its result. */
extern bool inbox_refuse(InboxItem *item,
						 int sqlstate,
						 const char *detail,
						 const char *hint,
						 const char *format,
						 ...) pg_attribute_printf(5, 6);

#endif /* INBOX_ITEM_H */

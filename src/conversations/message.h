/*
 * conversations/message.h: a message before it is stored.
 */
#ifndef CONVERSATIONS_MESSAGE_H
#define CONVERSATIONS_MESSAGE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

typedef struct ConversationMessage
{
	pg_uuid_t id;
	bool inbound;	 /* then id is also the id of the event */
	text *tenant_id; /* strings are NULL when absent */
	text *channel;
	text *from;		  /* normalized */
	text *to;		  /* normalized */
	text *from_given; /* as in the payload; NULL when equal to from */
	text *to_given;	  /* as in the payload; NULL when equal to to */
	text *subject;
	text *provider_message_id;
	text *correlation_id;
	text *body;
	Jsonb *attachments;
	Jsonb *payload; /* redacted */
	TimestampTz timestamp;
	text *conversation_key;	   /* set by conversations_add() */
	pg_uuid_t conversation_id; /* set by conversations_add() */
} ConversationMessage;

/*
 * Sets from_given, to_given and subject from the payload; from and to must be
 * set. A payload that got into a table in another way than by ingest() or
 * send() may have none of them.
 */
extern void message_read_given(ConversationMessage *message);

#endif /* CONVERSATIONS_MESSAGE_H */

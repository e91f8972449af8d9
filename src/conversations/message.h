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
	text *from; /* normalized */
	text *to;	/* normalized */
	text *provider_message_id;
	text *correlation_id;
	text *body;
	Jsonb *attachments;
	TimestampTz timestamp;
	text *conversation_key;	   /* set by conversations_add() */
	pg_uuid_t conversation_id; /* set by conversations_add() */
} ConversationMessage;

#endif /* CONVERSATIONS_MESSAGE_H */

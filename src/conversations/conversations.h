/*
 * conversations/conversations.h: adds messages to their conversations.
 */
#ifndef CONVERSATIONS_H
#define CONVERSATIONS_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

typedef struct ConversationMessage
{
	pg_uuid_t id;
	bool inbound;	 /* id is the inbound event's too; else outbound */
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

/*
 * Adds the messages and keeps count and last activity of their conversations,
 * all or none. The caller is connected to SPI. Returns how many conversations
 * came into being. Raises MS400 when a message's channel is unknown.
 */
extern int conversations_add(ConversationMessage *messages, int n);

#endif /* CONVERSATIONS_H */

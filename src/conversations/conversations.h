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

/*
 * Adds the messages and updates message count and last activity of their
 * conversations, all or none. The caller is connected to SPI. Returns the
 * number of conversations created. Raises MS400 if a channel does not exist.
 */
extern int conversations_add(ConversationMessage *messages, int n);

#endif /* CONVERSATIONS_H */

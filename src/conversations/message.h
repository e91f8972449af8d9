/*
 * conversations/message.h: a message before it is stored.
 */
#ifndef CONVERSATIONS_MESSAGE_H
#define CONVERSATIONS_MESSAGE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "channels/channels.h"

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
	text *participant_a; /* set by message_set_key(), as the next one */
	text *participant_b;
	text *conversation_key;	   /* set by conversations_add() */
	pg_uuid_t conversation_id; /* set by conversations_add() */
} ConversationMessage;

/*
 * Sets from_given, to_given and subject from the payload; from and to must be
 * set. A payload that got into a table in another way than by ingest() or
 * send() may have none of them.
 */
extern void message_read_given(ConversationMessage *message);

/*
 * Sets the participants of the conversation and its key; from, to and payload
 * must be set. They are the sender and the recipient, unless the payload names
 * others: the conversation that an e-mail replies to, or a group. With
 * strict_order, lines are kept by sender and recipient, so these count.
 */
extern void message_set_key(const Channel *channel,
							ConversationMessage *message);

/*
 * Returns the timestamp, or the time of acceptance if the timestamp is later
 * than that by more than msgstore.max_clock_skew. So one message of a
 * sender whose clock is wrong does not stay at the end of its conversation, and
 * its conversation at the top of the list, for ever.
 */
extern TimestampTz message_limit_timestamp(TimestampTz timestamp,
										   TimestampTz accepted_at);

/*
 * Returns the address normalized by the channel's present rules, or the stored
 * one if these find no valid address in it.
 */
extern text *message_identity(const Channel *channel,
							  const char *address,
							  int len,
							  text *stored);

#endif /* CONVERSATIONS_MESSAGE_H */

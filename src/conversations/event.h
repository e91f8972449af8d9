/*
 * conversations/event.h: derives a message from an accepted event.
 */
#ifndef CONVERSATIONS_EVENT_H
#define CONVERSATIONS_EVENT_H

#include "conversations/message.h"

/*
 * The columns of msgstore.event_log that event_read_message() reads; the
 * results of a statement must begin with them.
 */
#define EVENT_COLUMNS                                                          \
	"l.tenant_id, l.id, l.channel, l.\"from\", l.\"to\","                      \
	" l.provider_message_id, l.correlation_id, l.payload, l.created_at"
#define EVENT_NCOLUMNS 9

/*
 * Reads the message from a row of the last statement's result, into the
 * current memory context. The message has the id of its event, so that no
 * event can make two. Returns when the event was accepted.
 */
extern TimestampTz event_read_message(uint64 row, ConversationMessage *message);

/* The same from the values of those columns. */
extern TimestampTz event_make_message(const Datum *values,
									  const bool *nulls,
									  ConversationMessage *message);

#endif /* CONVERSATIONS_EVENT_H */

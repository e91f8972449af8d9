/*
 * worker_message.h: the message that an accepted event makes.
 */
#ifndef WORKER_MESSAGE_H
#define WORKER_MESSAGE_H

#include "conversations.h"

/*
 * The columns of msgstore.event_log that worker_read_message() reads, to begin
 * a statement's list of results with.
 */
#define WORKER_MESSAGE_COLUMNS                                                 \
	"l.tenant_id, l.id, l.channel, l.\"from\", l.\"to\","                      \
	" l.provider_message_id, l.correlation_id, l.payload, l.created_at"
#define WORKER_MESSAGE_NCOLUMNS 9

/*
 * Reads the message from a row of the last statement's result, into the
 * current memory context. It has the event's id: an event makes it once,
 * whoever tries. Returns when the event was accepted.
 */
extern TimestampTz worker_read_message(uint64 row,
									   ConversationMessage *message);

#endif /* WORKER_MESSAGE_H */

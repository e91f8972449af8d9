/*
 * conversations/changes.h: the changes of conversations that are not merged
 * yet, as rows of msgstore.conversation_changes hold them.
 */
#ifndef CONVERSATIONS_CHANGES_H
#define CONVERSATIONS_CHANGES_H

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Messages added to a conversation. */
typedef struct Change
{
	pg_uuid_t conversation_id;
	int32 message_count;
	int32 inbound_count;		  /* of these, the inbound ones */
	TimestampTz last_activity_at; /* the greatest timestamp of the messages */
} Change;

/*
 * The bytes of a change; the numbers are in network order. Each count has two
 * bytes: more messages are several changes.
 */
#define CHANGE_BYTES 28
#define CHANGE_MOST_MESSAGES 32767

/* So many fit into a row that fits into a page. */
#define CHANGES_PER_ROW 250

extern void change_write(const Change *change, char *bytes);
extern void change_read(const char *bytes, Change *change);

#endif /* CONVERSATIONS_CHANGES_H */

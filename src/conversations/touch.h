/*
 * conversations/touch.h: a conversation that messages are added to.
 */
#ifndef CONVERSATIONS_TOUCH_H
#define CONVERSATIONS_TOUCH_H

#include "conversations/message.h"

/* The messages of a call that belong to one conversation. */
typedef struct Touch
{
	const ConversationMessage *sample;
	text *thread;
	text *participant_a;
	text *participant_b;
	uint32 hash; /* of the conversation, if workers look it up */
	pg_uuid_t id;
	bool is_known; /* existed before */
	bool is_created;
	int message_count;
	int inbound_count; /* of these, the inbound ones */
	TimestampTz last_activity_at;
} Touch;

/*
 * Sets id and is_known of those that exist, and keeps these from being removed
 * until the end of the transaction. If one is being removed or moved by another
 * session, waits for that or, if wait is false, raises lock_not_available. The
 * touches are in the order of tenant and key.
 */
extern void conversations_find(Touch *touches, int n, bool wait);

/* Adds what the touches change to msgstore.conversation_changes. */
extern void conversations_put_changes(const Touch *touches, int n);

#endif /* CONVERSATIONS_TOUCH_H */

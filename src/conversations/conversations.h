/*
 * conversations/conversations.h: adds messages to their conversations.
 */
#ifndef CONVERSATIONS_H
#define CONVERSATIONS_H

#include "conversations/message.h"

/*
 * Adds the messages to their conversations, all or none. The caller is
 * connected to SPI. Returns the number of conversations created. If another
 * session is removing a conversation or moving its messages, waits for it or,
 * if wait is false, raises lock_not_available. Raises MS400 if a channel does
 * not exist.
 */
extern int conversations_add(ConversationMessage *messages, int n, bool wait);

/*
 * Whether conversations_add() raised this error because another session created
 * one of several conversations. A caller that rolls back can call it again.
 */
extern bool conversations_were_overtaken(const ErrorData *error);

#endif /* CONVERSATIONS_H */

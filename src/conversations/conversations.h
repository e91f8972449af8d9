/*
 * conversations/conversations.h: adds messages to their conversations.
 */
#ifndef CONVERSATIONS_H
#define CONVERSATIONS_H

#include "conversations/message.h"

/*
 * Adds the messages and updates message count and last activity of their
 * conversations, all or none. The caller is connected to SPI. Returns the
 * number of conversations created. Raises MS400 if a channel does not exist.
 */
extern int conversations_add(ConversationMessage *messages, int n);

/*
 * Whether conversations_add() raised this error because another session created
 * one of several conversations. A caller that rolls back can call it again.
 */
extern bool conversations_were_overtaken(const ErrorData *error);

#endif /* CONVERSATIONS_H */

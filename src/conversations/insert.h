/*
 * conversations/insert.h: rows of msgstore.messages.
 */
#ifndef CONVERSATIONS_INSERT_H
#define CONVERSATIONS_INSERT_H

#include "conversations/conversations.h"

/* Adds messages that have their conversations; connected to SPI. */
extern void conversations_insert(const ConversationMessage *messages, int n);

#endif /* CONVERSATIONS_INSERT_H */

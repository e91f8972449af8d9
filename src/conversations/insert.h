/*
 * conversations/insert.h: inserts rows into msgstore.messages.
 */
#ifndef CONVERSATIONS_INSERT_H
#define CONVERSATIONS_INSERT_H

#include "conversations/message.h"

/*
 * Inserts messages whose conversations exist; the caller is connected to SPI.
 */
extern void conversations_insert(const ConversationMessage *messages, int n);

#endif /* CONVERSATIONS_INSERT_H */

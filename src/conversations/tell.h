/*
 * conversations/tell.h: tells destinations of new messages.
 */
#ifndef CONVERSATIONS_TELL_H
#define CONVERSATIONS_TELL_H

#include "conversations/message.h"

/*
 * Records the messages of a batch for the destinations of their tenants, if
 * there are any. The caller is connected to SPI.
 */
extern void tell_received(const ConversationMessage *messages, int n);

#endif /* CONVERSATIONS_TELL_H */

/*
 * conversations/consent.h: who has opted out of whose messages.
 */
#ifndef CONVERSATIONS_CONSENT_H
#define CONVERSATIONS_CONSENT_H

#include "conversations/message.h"

/* Both are called while connected to SPI. */

/* Records what inbound messages say: STOP, START, HELP and their like. */
extern void consent_read(const ConversationMessage *messages, int n);

/* Raises MS403 if the recipient of an outbound message has opted out. */
extern void consent_check(const ConversationMessage *message);

#endif /* CONVERSATIONS_CONSENT_H */

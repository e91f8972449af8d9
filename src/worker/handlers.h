/*
 * worker/handlers.h: user-defined functions called for inbound messages.
 */
#ifndef WORKER_HANDLERS_H
#define WORKER_HANDLERS_H

#include "conversations/message.h"

typedef struct WorkerHandlers WorkerHandlers;

/*
 * Returns the registered handlers, in the current memory context, or NULL if
 * there are none. The caller is connected to SPI.
 */
extern WorkerHandlers *worker_find_handlers(void);

/* Whether a channel of these messages has a handler. */
extern bool worker_any_handled(WorkerHandlers *handlers,
							   const ConversationMessage *messages,
							   int n);

/* Calls the handlers of each message's channel, message by message. */
extern void worker_call_handlers(WorkerHandlers *handlers,
								 const ConversationMessage *messages,
								 int n);

/*
 * After an error: returns the message whose handler raised it, or NULL if it
 * was raised elsewhere. Call it once per error: it resets the state.
 */
extern const ConversationMessage *worker_left_handler(WorkerHandlers *handlers);

/* Raises MS403 when called from a handler. */
extern void worker_refuse_in_handler(const char *function);

#endif /* WORKER_HANDLERS_H */

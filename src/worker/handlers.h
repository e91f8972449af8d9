/*
 * worker/handlers.h: users' functions that are called for inbound messages.
 */
#ifndef WORKER_HANDLERS_H
#define WORKER_HANDLERS_H

#include "conversations/conversations.h"

typedef struct WorkerHandlers WorkerHandlers;

/*
 * The handlers there are now, in the current memory context; NULL when there
 * are none. The caller is connected to SPI.
 */
extern WorkerHandlers *worker_find_handlers(void);

/* Calls those of their channels for the messages, in order. */
extern void worker_call_handlers(WorkerHandlers *handlers,
								 const ConversationMessage *messages,
								 int n);

/*
 * The message at which the last call was left by an error that a handler
 * raised; NULL: the error has another source. To be asked once.
 */
extern const ConversationMessage *worker_left_handler(WorkerHandlers *handlers);

/* MS403 within a handler: its event is being applied. */
extern void worker_refuse_in_handler(const char *function);

#endif /* WORKER_HANDLERS_H */

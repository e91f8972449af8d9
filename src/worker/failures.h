/*
 * worker/failures.h: what becomes of an event that could not be applied.
 */
#ifndef WORKER_FAILURES_H
#define WORKER_FAILURES_H

#include "conversations/conversations.h"

/*
 * Whether the error ends the transaction: a cancel, a shutdown, a full disk, a
 * broken table. What a handler raised is its own affair: it must not be able
 * to stop the worker.
 */
extern bool worker_is_unexpected(const ErrorData *error, bool in_handler);

/* Whether the event is to be tried again and the attempt not counted. */
extern bool worker_is_nobodys_fault(const ErrorData *error);

typedef struct WorkerFailure
{
	const char *code; /* SQLSTATE, or what a processor calls it */
	const char *message;
	const char *processor_id; /* NULL: it happened here */
	bool permanent;			  /* trying again is of no use */
	bool at_once;			  /* it is due again without a wait */
} WorkerFailure;

/* Counts and keeps the failure; whether the event went to the dead letters. */
extern bool worker_keep_failure(const ConversationMessage *event,
								const WorkerFailure *failure);

/* Puts the event off, uncounted. */
extern void worker_postpone(const ConversationMessage *event);

#endif /* WORKER_FAILURES_H */

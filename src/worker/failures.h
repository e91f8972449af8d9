/*
 * worker/failures.h: handles events that could not be applied.
 */
#ifndef WORKER_FAILURES_H
#define WORKER_FAILURES_H

#include "conversations/message.h"

/*
 * Whether the error must end the transaction: a cancel, a shutdown, a full
 * disk, a corrupt table. An error raised by a handler never does in a worker.
 */
extern bool worker_is_unexpected(const ErrorData *error, bool in_handler);

/* Whether the event is retried without counting the attempt. */
extern bool worker_is_nobodys_fault(const ErrorData *error);

typedef struct WorkerFailure
{
	const char *code; /* SQLSTATE, or code reported by a processor */
	const char *message;
	const char *processor_id; /* NULL: not an external processor */
	bool permanent;			  /* make it a dead letter at once */
	bool at_once;			  /* retry without backoff */
} WorkerFailure;

/* Records the failure. Returns whether the event is a dead letter now. */
extern bool worker_keep_failure(const ConversationMessage *event,
								const WorkerFailure *failure);

/* Schedules a retry without counting the attempt. */
extern void worker_postpone(const ConversationMessage *event);

#endif /* WORKER_FAILURES_H */

/*
 * worker/recorder.h: records which events a worker is applying, so that its
 * death can be traced to one of them.
 */
#ifndef WORKER_RECORDER_H
#define WORKER_RECORDER_H

#include "nodes/pg_list.h"

#include "conversations/message.h"

/* An event in the record of a dead worker. */
typedef struct RecordedEvent
{
	text *tenant_id;
	pg_uuid_t id;
	int16 lane;
	bool settled; /* for worker/postmortem.c */
} RecordedEvent;

/* The record of a dead worker. */
typedef struct Record
{
	char *path;
	uint64 lanes; /* of its events */
	int culprit;  /* the event whose handler was running; -1: unknown */
	int n;
	RecordedEvent *events;
} Record;

/* For a worker that is connected to its database. */
extern void recorder_attach(void);

/* True if the worker died while it applied events, for callbacks at exit. */
extern bool recorder_left_record(void);

/*
 * Records that the worker applies these events from now on. Like all that
 * follow, does nothing in other processes.
 */
extern void
recorder_begin(const ConversationMessage *messages, const int16 *lanes, int n);

/* Records that the handlers of event i of the record run, or none any more. */
extern void recorder_enter_handler(int i);
extern void recorder_leave_handlers(void);

/* Records that the worker applies nothing. */
extern void recorder_clear(void);

/*
 * Whether records of dead workers came or went since recorder_take_news(),
 * which returns the same.
 */
extern bool recorder_has_news(void);
extern bool recorder_take_news(void);

/*
 * Returns the records that dead workers of the database left, in the current
 * memory context. recorder_any() looks in all databases.
 */
extern List *recorder_read(Oid database);
extern bool recorder_any(void);

/* Stores that the culprit is unknown. */
extern void recorder_acquit(Record *record);

/* Removes a record, or all of a database that was dropped. */
extern void recorder_remove(const Record *record);
extern void recorder_forget(Oid database);

#endif /* WORKER_RECORDER_H */

/*
 * streams/streams.h: events of streams, and the order in which readers may see them.
 *
 * What is called here works connected to SPI unless it says otherwise.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* An event as it is asked to be appended, and where it came to stand. */
typedef struct StreamEvent
{
	text *stream;
	text *category; /* what stands before the stream's first '-' */
	text *type;
	Jsonb *data;		 /* may be NULL */
	Jsonb *metadata;	 /* may be NULL */
	pg_uuid_t *event_id; /* NULL: one is made */
	text *created_by;	 /* may be NULL */
	bool has_expected;
	int64 expected; /* version of the stream before this event */
	TimestampTz created_at;

	/* the outcome */
	int64 version;
	int64 position;
	bool duplicate; /* the event was there already, nothing is stored */
	const struct StreamEvent *first; /* of this call, with the same id */
} StreamEvent;

/* How a conflict is told: in our words, or in those of the other interface. */
typedef enum ConflictWords
{
	CONFLICT_MSGSTORE,
	CONFLICT_MESSAGE_STORE
} ConflictWords;

/* Raises MS400 where stream or type cannot be; sets the category. */
extern void streams_check_event(StreamEvent *event);

/* Raises MS400 where the stream is one that another room keeps. */
extern void streams_check_not_kept(const StreamEvent *event);

/* Raises MS400 where no stream ever has the expected version. */
extern void streams_check_expected(const StreamEvent *event);

/* The part of a stream's name before its first '-', or all of it. */
extern text *streams_category(const text *stream);

/* Raises that the stream is not at the expected version. */
extern void streams_raise_conflict(const StreamEvent *event,
								   int64 current,
								   ConflictWords words);

/* Raises that the event id stands for something else. */
extern void streams_raise_other_content(const pg_uuid_t *event_id);

/*
 * Inserts the event without a statement, not connected to SPI, if the table
 * allows for it; stored is false where its version or id is taken, or its
 * version not the expected one.
 */
extern bool streams_insert(StreamEvent *event, bool *stored);

/*
 * Draws the next position and publishes it until the transaction ends. The
 * caller has read the version of the stream it will append to: so positions
 * within a stream grow with its versions.
 */
extern int64 streams_take_position(void);

/* What is stored with a position drawn before; see streams/position.c. */
extern int64 streams_horizon(void);

/* The id made for the event at the position. */
extern void streams_make_event_id(int64 position, pg_uuid_t *id);

/*
 * Events up to this position are settled: what a snapshot that is taken from
 * now on does not show of them never will be.
 */
extern int64 streams_settled_position(void);

/* At commit, who waits for events of the category is woken. */
extern void streams_wake_at_commit(const text *category);

/* For _PG_init: transaction hook; shared memory's size, and its set-up. */
extern void streams_init(void);
extern void streams_shmem_request(void);
extern void streams_shmem_startup(void);

#endif /* STREAMS_H */

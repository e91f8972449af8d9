/*
 * streams/streams.h: appending events, and the order in which readers see them.
 *
 * Callers are connected to SPI unless a comment says otherwise.
 */
#ifndef STREAMS_H
#define STREAMS_H

#include "access/transam.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * Type of the event that ends a stream. It has the next version like any event,
 * so that it conflicts with an append that is open, or has an older snapshot.
 */
#define STREAMS_TOMBSTONE "msgstore:Tombstone"

/*
 * In SQL, the version of an event e that is the last of its stream, as appends
 * see it: the greatest one, which no version follows, for a tombstone.
 */
#define STREAMS_LAST_VERSION                                                   \
	"CASE WHEN e.type = '" STREAMS_TOMBSTONE "'"                               \
	" THEN 9223372036854775807 ELSE e.version END"

/* An event to append, and the result. */
typedef struct StreamEvent
{
	text *stream;
	text *category; /* stream's name up to its first '-' */
	text *type;
	Jsonb *data;		 /* may be NULL */
	Jsonb *metadata;	 /* may be NULL */
	pg_uuid_t *event_id; /* NULL: generated */
	text *created_by;	 /* may be NULL */
	bool has_expected;
	int64 expected; /* version of the stream before this event */
	TimestampTz created_at;
	bool has_happened;
	TimestampTz happened_at; /* own time of an imported event */
	ArrayType *tags;		 /* may be NULL */

	/* The result. */
	int64 version;
	int64 position;
	bool duplicate; /* stored before, or repeated in the call */
	const struct StreamEvent *first; /* in the call with the same id */
} StreamEvent;

/* Whose error text a conflict has; Message DB's clients look for its words. */
typedef enum ConflictWords
{
	CONFLICT_MSGSTORE,
	CONFLICT_MESSAGE_STORE
} ConflictWords;

/*
 * Reads the event with this number from a JSON object into a zeroed struct.
 * Raises MS400 for a missing, unknown or invalid field.
 */
extern void streams_read_event(Jsonb *given, int ordinal, StreamEvent *event);

/* Sets the category. Raises MS400 for an invalid stream name or type. */
extern void streams_check_event(StreamEvent *event);

/* Raises MS400 if the stream's name or the type is reserved for msgstore. */
extern void streams_check_not_kept(const StreamEvent *event);

/* Raises MS400 if the expected version is negative. */
extern void streams_check_expected(const StreamEvent *event);

/* Raises MS400 if the name cannot be that of a category. */
extern void streams_check_category(const text *category);

/* The stream's name up to its first '-', or all of it; palloc'd. */
extern text *streams_category(const text *stream);

/* Raises MS400 for invalid tags. */
extern void streams_check_tags(const StreamEvent *event);

/*
 * Locks the tags of events until the transaction ends. Who appends events with
 * a tag shares its lock; who appends if there are none has it alone.
 */
extern void
streams_lock_tags(ArrayType *const *shared, int n, ArrayType *alone);

/* Whether the event is to be found by tags, or the metadata of traces. */
extern bool streams_has_keys(const StreamEvent *event);

/* Adds the keys of the events that were inserted at these positions. */
extern void streams_add_keys(Datum *positions, int n);

/* Raises MS409 for the STREAMS_LAST_VERSION of a tombstone. */
extern void streams_check_not_ended(const StreamEvent *event, int64 current);

/* Raises the error for another version than the expected one. */
extern void streams_raise_conflict(const StreamEvent *event,
								   int64 current,
								   ConflictWords words);

/* Raises the error for an event id that was used with other content. */
extern void streams_raise_other_content(const pg_uuid_t *event_id);

/*
 * Appends the event and sets the result, or raises an error in the given words.
 * Called without SPI.
 */
extern void streams_append(StreamEvent *event, ConflictWords words);

/* The version that the caller's snapshot shows; called without SPI. */
extern int64 streams_version(text *stream);

/*
 * Inserts the event without a statement; called without SPI. Returns false if
 * the table does not allow that. stored is false if its version or id is taken,
 * or the version is not the expected one.
 */
extern bool streams_insert(StreamEvent *event, bool *stored);

/*
 * The same for events whose versions and positions are set. A version, id or
 * position that exists is an error.
 */
extern bool streams_insert_many(StreamEvent *const *events, int n);

/*
 * Draws the next position and publishes it until the transaction ends, or its
 * subtransaction is rolled back. Callers
 * read the version of the stream before, so that within a stream positions
 * increase with versions.
 */
extern int64 streams_take_position(const text *category, ArrayType *tags);

/* The horizon to store with the position drawn last; see horizon.c. */
extern int64 streams_horizon(void);

/* Generates the id of the event at the position. */
extern void streams_make_event_id(int64 position, pg_uuid_t *id);

/*
 * Events of the category (NULL: of the tenant) up to this position are settled:
 * those that a snapshot taken from now on does not show will never appear. For
 * the events with a tag, the category is "tag-" and the tag.
 */
extern int64 streams_settled_position(const text *category);

/*
 * Bits of a transaction's mask, which stand for its categories; those with the
 * same bit are woken together. NULL: the bit of all events of the database.
 */
#define STREAMS_BUCKETS 64

extern int streams_bucket_of(const text *category);

/* At commit, wakes the sessions that wait for events of the category. */
extern void streams_wake_at_commit(const text *category);

/*
 * When a transaction that drew a position has ended and its slot is cleared:
 * wakes the sessions that wait for its categories or for any event.
 */
extern void streams_wake_waiters(void);

/* The same for a subtransaction that was rolled back. */
extern void streams_wake_settled(void);

/* Transaction hook of waiting; size and set-up of its shared memory. */
extern void streams_wait_init(void);
extern void streams_wait_shmem_request(void);
extern void streams_wait_shmem_startup(void);

/* For _PG_init: transaction hook; size and set-up of shared memory. */
extern void streams_init(void);
extern void streams_shmem_request(void);
extern void streams_shmem_startup(void);

#endif /* STREAMS_H */

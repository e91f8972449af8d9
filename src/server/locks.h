/*
 * server/locks.h: advisory locks of this extension.
 *
 * pg_locks shows them with the classid of LOCKS_CLASS and the kind as objsubid.
 * The SQL functions for advisory locks use 1 and 2.
 */
#ifndef SERVER_LOCKS_H
#define SERVER_LOCKS_H

#include "miscadmin.h"
#include "storage/lock.h"

#define LOCKS_CLASS 0x6d736773 /* "msgs" */

typedef enum LockKind
{
	LOCK_LANE = 3, /* of events; docs/worker.md shows the number */
	LOCK_LANE_USE, /* of conversations */
	LOCK_CHANGES,  /* of conversations, while they are merged */
	LOCK_SEARCH,   /* the index of messages */
	LOCK_TAG,	   /* of a stream event */
	LOCK_GUARD,	   /* an event's id, while it is stored */
	LOCK_FENCE,	   /* of a tenant, while sessions take notice */
	LOCK_COUNTER   /* of stream positions */
} LockKind;

/* The tag of a lock in this database; the number tells those of a kind apart.
 */
static inline LOCKTAG
locks_tag(LockKind kind, uint32 number)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCKS_CLASS, number, kind);
	return tag;
}

#endif /* SERVER_LOCKS_H */

/*
 * conversations/places.h: where the rows of conversations are that this session
 * has found before.
 */
#ifndef CONVERSATIONS_PLACES_H
#define CONVERSATIONS_PLACES_H

#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "conversations/message.h"

typedef struct Places
{
	Relation table; /* conversation_rows, locked */
	BlockNumber blocks;
	Snapshot snapshot;
} Places;

extern void places_open(Places *places, Relation table, Snapshot snapshot);

/*
 * Reads the row of the message's conversation, whose key and tenant have this
 * hash. Returns false if its place is not known; it may still exist.
 */
extern bool places_fetch(const Places *places,
						 uint32 hash,
						 const ConversationMessage *message,
						 TupleTableSlot *slot);

/* Notes the place of the row in the slot. */
extern void places_note(uint32 hash, const TupleTableSlot *slot);

#endif /* CONVERSATIONS_PLACES_H */

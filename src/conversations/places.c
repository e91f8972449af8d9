/*
 * conversations/places.c: where the rows of conversations are that this session
 * has found before.
 *
 * The messages of a conversation often come one after the other, and to find
 * its row by the key takes ten times as long as to read the row. So a session
 * remembers where it has found rows. A place that it remembers is only a guess:
 * the row may be gone, and another one may be there. Whether it is the one that
 * was asked for is what its key says, and whether it exists is what the
 * snapshot says, as if it had been found by the index.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "address/address.h"
#include "conversations/places.h"

/* A power of two; they take 12 bytes each. */
#define PLACES 65536

/* The columns that are read of conversation_rows. */
#define ROW_TENANT_ID 1
#define ROW_KEY 7

typedef struct Place
{
	uint32 hash;
	ItemPointerData row; /* all zero: none */
} Place;

static Place *known = NULL;

static Place *place_of(uint32 hash);
static bool is_equal(TupleTableSlot *slot, int column, const text *value);

void
places_open(Places *places, Relation table, Snapshot snapshot)
{
	places->table = table;
	places->blocks = RelationGetNumberOfBlocks(table);
	places->snapshot = snapshot;
	if (known == NULL)
		known =
			MemoryContextAllocZero(TopMemoryContext, sizeof(Place) * PLACES);
}

bool
places_fetch(const Places *places,
			 uint32 hash,
			 const ConversationMessage *message,
			 TupleTableSlot *slot)
{
	Place *place = place_of(hash);

	/* A table that was truncated may have lost the page. */
	return place->hash == hash && ItemPointerIsValid(&place->row) &&
		   ItemPointerGetBlockNumber(&place->row) < places->blocks &&
		   table_tuple_fetch_row_version(places->table,
										 &place->row,
										 places->snapshot,
										 slot) &&
		   is_equal(slot, ROW_KEY, message->conversation_key) &&
		   is_equal(slot, ROW_TENANT_ID, message->tenant_id);
}

/* Conversations of a lane have a hash with the same last bits. */
static Place *
place_of(uint32 hash)
{
	return &known[(hash >> 6) & (PLACES - 1)];
}

static bool
is_equal(TupleTableSlot *slot, int column, const text *value)
{
	bool isnull;
	Datum stored = slot_getattr(slot, column, &isnull);

	return !isnull && address_compare(DatumGetTextPP(stored), value) == 0;
}

void
places_note(uint32 hash, const TupleTableSlot *slot)
{
	Place *place = place_of(hash);

	place->hash = hash;
	place->row = slot->tts_tid;
}

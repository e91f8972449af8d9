/*
 * channels/channels.c: each backend's copy of the table msgstore.channels.
 *
 * Every message needs its channel, so the few rows are cached. A trigger on the
 * table sends a relcache invalidation. The server delivers it to all backends
 * at commit, and to this one at the next command and again at rollback. The
 * cache is therefore filled as the server fills its catalog caches: with a
 * snapshot taken after locking the table, which processes all invalidations.
 * The transaction's own snapshot may be older than an invalidation that was
 * processed already, and rows read with it would outlive the transaction.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "storage/lockdefs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "channels/channels.h"
#include "server/errors.h"

/* The columns, in the table's order. */
enum
{
	COLUMN_NAME = 1,
	COLUMN_ADDRESS_KIND,
	COLUMN_THREAD,
	COLUMN_PROVIDER_ID_FIELD,
	COLUMN_TYPES,
	COLUMN_BODY_REQUIRED,
	COLUMN_ATTACHMENTS,
	COLUMN_ORIGIN,
	COLUMN_STRICT_ORDER,
	COLUMN_PROVIDER,
	COLUMN_PLUS_TAGS,
	COLUMN_PROVIDER_ID_FIELDS,
	COLUMN_VOLATILE_FIELDS,
	COLUMN_STOP_WORDS,
	COLUMN_START_WORDS,
	COLUMN_HELP_WORDS
};

/* The longest part of an unknown name that an error message shows. */
#define REPORTED_NAME_BYTES 63

/* How many channels an error message lists. */
#define LISTED_CHANNELS 20

/*
 * Static, because the cache belongs to the backend. It has a memory context of
 * its own below CacheMemoryContext, and is replaced as a whole.
 */
static MemoryContext cache_context = NULL;
static Channel *cached_channels = NULL;
static int ncached_channels = 0;
static Oid cached_relid = InvalidOid;
static bool cache_is_fresh = false;
static uint64 invalidations_seen = 0;

static void refresh_cache(void);
static Relation open_channels(void);
static int read_channels(Relation rel, Channel **channels);
static int compare_names(const void *a, const void *b);
static void read_channel(HeapTuple tuple, TupleDesc desc, Channel *channel);
static char *read_text(HeapTuple tuple, TupleDesc desc, int column);
static char **read_texts(HeapTuple tuple, TupleDesc desc, int column, int *n);
static int read_word(HeapTuple tuple,
					 TupleDesc desc,
					 int column,
					 const char *const *words);
static void forget_channels(Datum arg, Oid relid);

PG_FUNCTION_INFO_V1(msgstore_invalidate_channels);

/* The trigger function that invalidates the cache of every backend. */
Datum
msgstore_invalidate_channels(PG_FUNCTION_ARGS)
{
	TriggerData *trigger;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("function \"%s\" was not called as a trigger",
						"msgstore._invalidate_channels")));
	trigger = (TriggerData *) fcinfo->context;
	CacheInvalidateRelcache(trigger->tg_relation);
	/* The trigger manager accepts no row here, but no SQL null either. */
	return PointerGetDatum(NULL);
}

const Channel *
channels_find(const char *name, int len)
{
	/*
	 * A statement without a table takes no lock, so it would not process an
	 * invalidation before the end of its transaction.
	 */
	AcceptInvalidationMessages();
	if (!cache_is_fresh)
		refresh_cache();
	for (int i = 0; i < ncached_channels; i++)
	{
		const Channel *channel = &cached_channels[i];

		if (strlen(channel->name) == (size_t) len &&
			memcmp(channel->name, name, len) == 0)
			return channel;
	}
	return NULL;
}

const Channel *
channels_get(const char *name, int len)
{
	const Channel *channel = channels_find(name, len);

	if (channel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("channel \"%.*s\" does not exist",
						pg_mbcliplen(name, len, REPORTED_NAME_BYTES),
						name),
				 errdetail("%s", channels_list()),
				 errhint("Insert a row for it into msgstore.channels.")));
	return channel;
}

char *
channels_list(void)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoString(&list, "The channels are ");
	for (int i = 0; i < ncached_channels && i < LISTED_CHANNELS; i++)
		appendStringInfo(&list,
						 "%s\"%s\"",
						 i == 0						 ? ""
						 : i == ncached_channels - 1 ? " and "
													 : ", ",
						 cached_channels[i].name);
	if (ncached_channels > LISTED_CHANNELS)
		appendStringInfo(&list,
						 " and %d more",
						 ncached_channels - LISTED_CHANNELS);
	appendStringInfoChar(&list, '.');
	return list.data;
}

bool
channels_any_strict(void)
{
	AcceptInvalidationMessages();
	if (!cache_is_fresh)
		refresh_cache();
	for (int i = 0; i < ncached_channels; i++)
	{
		if (cached_channels[i].strict_order)
			return true;
	}
	return false;
}

/*
 * Read the table into a new cache and only then free the old one, so that an
 * error leaves the old one in place. If an invalidation arrives while the table
 * is read, the next call reads it again.
 */
static void
refresh_cache(void)
{
	static bool callback_registered = false;
	MemoryContext context;
	MemoryContext caller_context;
	Channel *channels;
	Relation rel;
	uint64 seen;
	int n;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_channels, (Datum) 0);
		callback_registered = true;
	}
	rel = open_channels();
	cached_relid = RelationGetRelid(rel);
	seen = invalidations_seen;

	context = AllocSetContextCreate(CurrentMemoryContext,
									"msgstore channels",
									ALLOCSET_SMALL_SIZES);
	caller_context = MemoryContextSwitchTo(context);
	n = read_channels(rel, &channels);
	MemoryContextSwitchTo(caller_context);
	table_close(rel, AccessShareLock);

	MemoryContextSetParent(context, CacheMemoryContext);
	if (cache_context != NULL)
		MemoryContextDelete(cache_context);
	cache_context = context;
	cached_channels = channels;
	ncached_channels = n;
	cache_is_fresh = seen == invalidations_seen;
}

/* By name each time: the extension may have been dropped and created again. */
static Relation
open_channels(void)
{
	Oid schema = get_namespace_oid("msgstore", true);
	Oid relid = InvalidOid;
	Relation rel = NULL;

	if (OidIsValid(schema))
		relid = get_relname_relid("channels", schema);
	if (OidIsValid(relid))
		rel = try_table_open(relid, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"msgstore.channels\" does not exist"),
				 errhint("Run CREATE EXTENSION msgstore in this database.")));
	return rel;
}

/* All rows by name, allocated in the current context; returns how many. */
static int
read_channels(Relation rel, Channel **channels)
{
	SysScanDesc scan;
	HeapTuple tuple;
	int room = 8;
	int n = 0;

	*channels = palloc(room * sizeof(Channel));
	/* Without a snapshot, the scan takes a new one, as for a catalog. */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (n == room)
		{
			room *= 2;
			*channels = repalloc(*channels, room * sizeof(Channel));
		}
		read_channel(tuple, RelationGetDescr(rel), &(*channels)[n++]);
	}
	systable_endscan(scan);
	qsort(*channels, n, sizeof(Channel), compare_names);
	return n;
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(((const Channel *) a)->name, ((const Channel *) b)->name);
}

static void
read_channel(HeapTuple tuple, TupleDesc desc, Channel *channel)
{
	/* In the order of the enums. */
	static const char *const kinds[] = {"phone", "email", "opaque", NULL};
	static const char *const rules[] = {"none", "optional", "required", NULL};
	static const char *const tags[] = {"strip", "keep", NULL};
	bool is_null;

	channel->name = read_text(tuple, desc, COLUMN_NAME);
	channel->address_kind =
		(AddressKind) read_word(tuple, desc, COLUMN_ADDRESS_KIND, kinds);
	channel->thread = read_text(tuple, desc, COLUMN_THREAD);
	channel->provider_id_field =
		read_text(tuple, desc, COLUMN_PROVIDER_ID_FIELD);
	channel->provider_id_fields = read_texts(tuple,
											 desc,
											 COLUMN_PROVIDER_ID_FIELDS,
											 &channel->nprovider_id_fields);
	channel->volatile_fields = read_texts(tuple,
										  desc,
										  COLUMN_VOLATILE_FIELDS,
										  &channel->nvolatile_fields);
	channel->types = read_texts(tuple, desc, COLUMN_TYPES, &channel->ntypes);
	channel->body_required =
		DatumGetBool(heap_getattr(tuple, COLUMN_BODY_REQUIRED, desc, &is_null));
	channel->attachments =
		(AttachmentRule) read_word(tuple, desc, COLUMN_ATTACHMENTS, rules);
	channel->strict_order =
		DatumGetBool(heap_getattr(tuple, COLUMN_STRICT_ORDER, desc, &is_null));
	channel->keep_plus_tags =
		read_word(tuple, desc, COLUMN_PLUS_TAGS, tags) == 1;
	(void) heap_getattr(tuple, COLUMN_PROVIDER, desc, &is_null);
	channel->has_provider = !is_null;
	channel->stop_words =
		read_texts(tuple, desc, COLUMN_STOP_WORDS, &channel->nstop_words);
	channel->start_words =
		read_texts(tuple, desc, COLUMN_START_WORDS, &channel->nstart_words);
	channel->help_words =
		read_texts(tuple, desc, COLUMN_HELP_WORDS, &channel->nhelp_words);
}

static char *
read_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool is_null;
	Datum value = heap_getattr(tuple, column, desc, &is_null);

	if (is_null)
		elog(ERROR, "null in column %d of msgstore.channels", column);
	return TextDatumGetCString(value);
}

/* NULL where the column is null. */
static char **
read_texts(HeapTuple tuple, TupleDesc desc, int column, int *n)
{
	bool is_null;
	Datum value = heap_getattr(tuple, column, desc, &is_null);
	Datum *elements;
	char **texts;

	*n = 0;
	if (is_null)
		return NULL;
	/* A table constraint excludes null elements. */
	deconstruct_array(DatumGetArrayTypeP(value),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &elements,
					  NULL,
					  n);
	texts = palloc(*n * sizeof(char *));
	for (int i = 0; i < *n; i++)
		texts[i] = TextDatumGetCString(elements[i]);
	return texts;
}

/* The position of the column's value among the words. */
static int
read_word(HeapTuple tuple, TupleDesc desc, int column, const char *const *words)
{
	const char *value = read_text(tuple, desc, column);

	for (int i = 0; words[i] != NULL; i++)
		if (strcmp(value, words[i]) == 0)
			return i;
	elog(ERROR,
		 "unexpected value \"%s\" in column %d of msgstore.channels",
		 value,
		 column);
}

/* The relcache callback: relid has changed, or any table if it is 0. */
static void
forget_channels(Datum arg, Oid relid)
{
	(void) arg;
	if (relid != InvalidOid && relid != cached_relid)
		return;
	cache_is_fresh = false;
	invalidations_seen++;
}

/*
 * streams/tags.c: tags of events, and what else they are found by.
 *
 * append_if() appends events if no event with certain tags has appeared after a
 * position. For this, each append of events with tags holds a lock for each
 * tag, shared with others of its kind, from before it draws a position until
 * its transaction ends; append_if() holds the locks of the tags that it asks
 * for alone. So when it looks, the transactions of all events with these tags
 * have ended, and none can begin before its own has ended. All locks of a call
 * are taken in ascending order.
 *
 * The table stream_event_keys has a row for each tag of an event, and for the
 * ids in its metadata that make up a trace. Events without these have no rows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lib/qunique.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "server/errors.h"
#include "server/locks.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"

#define MAX_TAGS 50
#define MAX_TAG_BYTES 255

/*
 * Tags whose hash is the same share a lock, which bounds the locks of a
 * transaction.
 */
#define TAG_LOCKS 8192

typedef struct TagLock
{
	uint32 number;
	LOCKMODE mode;
} TagLock;

static Statement insert_keys = {
	.sql = "INSERT INTO msgstore.stream_event_keys"
		   " (tenant_id, key, global_position)"
		   " SELECT $1, k.key, e.global_position FROM unnest($2) AS p (place)"
		   " JOIN msgstore.stream_events e"
		   " ON e.tenant_id = $1 AND e.global_position = p.place"
		   " CROSS JOIN LATERAL"
		   " unnest(msgstore._event_keys(e.metadata, e.tags)) AS k (key)"
		   " ON CONFLICT DO NOTHING",
	.nargs = 2,
	.argtypes = {TEXTOID, INT8ARRAYOID},
	.table = "stream_events"};

static int add_locks(TagLock *locks, int n, ArrayType *tags, LOCKMODE mode);
static uint32 lock_number(const text *tag);
static int compare_locks(const void *a, const void *b);
static int compare_numbers(const void *a, const void *b);
static int count_tags(ArrayType *tags);

PG_FUNCTION_INFO_V1(msgstore_lock_tags);

/* _lock_tags(shared, alone) */
Datum
msgstore_lock_tags(PG_FUNCTION_ARGS)
{
	ArrayType *shared = PG_GETARG_ARRAYTYPE_P(0);

	streams_lock_tags(&shared, 1, PG_GETARG_ARRAYTYPE_P(1));
	PG_RETURN_VOID();
}

void
streams_check_tags(const StreamEvent *event)
{
	Datum *tags;
	bool *nulls;
	int n;
	int i;

	if (event->tags == NULL)
		return;
	deconstruct_array(event->tags,
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &tags,
					  &nulls,
					  &n);
	if (n > MAX_TAGS)
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("event has %d tags", n),
				 errdetail("It must not have more than %d.", MAX_TAGS)));
	for (i = 0; i < n; i++)
	{
		int len = nulls[i] ? 0 : VARSIZE_ANY_EXHDR(DatumGetPointer(tags[i]));

		if (len == 0 || len > MAX_TAG_BYTES)
			ereport(
				ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("tag %d of the event has %d bytes", i + 1, len),
				 errdetail("A tag must have 1 to %d bytes.", MAX_TAG_BYTES)));
	}
}

void
streams_lock_tags(ArrayType *const *shared, int n, ArrayType *alone)
{
	int most = count_tags(alone);
	TagLock *locks;
	int nlocks;
	int i;

	for (i = 0; i < n; i++)
		most += count_tags(shared[i]);
	if (most == 0)
		return;
	locks = palloc(sizeof(TagLock) * most);
	nlocks = add_locks(locks, 0, alone, ExclusiveLock);
	for (i = 0; i < n; i++)
		nlocks = add_locks(locks, nlocks, shared[i], ShareLock);
	/* Of two with the same number, the stronger mode stays. */
	qsort(locks, nlocks, sizeof(TagLock), compare_locks);
	nlocks = qunique(locks, nlocks, sizeof(TagLock), compare_numbers);
	for (i = 0; i < nlocks; i++)
	{
		LOCKTAG tag = locks_tag(LOCK_TAG, locks[i].number);

		(void) LockAcquire(&tag, locks[i].mode, false, false);
	}
	pfree(locks);
}

/* _event_keys() in SQL knows the same names. */
bool
streams_has_keys(const StreamEvent *event)
{
	JsonbContainer *root;

	if (event->tags != NULL)
		return true;
	if (event->metadata == NULL || !JB_ROOT_IS_OBJECT(event->metadata))
		return false;
	root = &event->metadata->root;
	return getKeyJsonValueFromContainer(root, "correlation_id", 14, NULL) !=
			   NULL ||
		   getKeyJsonValueFromContainer(root, "causation_id", 12, NULL) != NULL;
}

void
streams_add_keys(Datum *positions, int n)
{
	Datum values[2];

	if (n == 0)
		return;
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = statement_array(INT8OID, positions, NULL, n);
	statement_execute(&insert_keys, values, NULL);
}

static int
add_locks(TagLock *locks, int n, ArrayType *tags, LOCKMODE mode)
{
	Datum *values;
	int nvalues;
	int i;

	if (tags == NULL)
		return n;
	deconstruct_array(tags,
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &values,
					  NULL,
					  &nvalues);
	for (i = 0; i < nvalues; i++)
	{
		locks[n].number = lock_number(DatumGetTextPP(values[i]));
		locks[n++].mode = mode;
	}
	return n;
}

static uint32
lock_number(const text *tag)
{
	uint32 hash = hash_bytes((const unsigned char *) msgstore_tenant_id,
							 strlen(msgstore_tenant_id));

	hash = hash_combine(hash,
						hash_bytes((const unsigned char *) VARDATA_ANY(tag),
								   VARSIZE_ANY_EXHDR(tag)));
	return hash % TAG_LOCKS;
}

static int
compare_locks(const void *a, const void *b)
{
	int order = compare_numbers(a, b);

	if (order != 0)
		return order;
	return ((const TagLock *) b)->mode - ((const TagLock *) a)->mode;
}

static int
compare_numbers(const void *a, const void *b)
{
	uint32 left = ((const TagLock *) a)->number;
	uint32 right = ((const TagLock *) b)->number;

	return (left > right) - (left < right);
}

static int
count_tags(ArrayType *tags)
{
	return tags == NULL ? 0 : ArrayGetNItems(ARR_NDIM(tags), ARR_DIMS(tags));
}

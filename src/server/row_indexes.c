/*
 * server/row_indexes.c: the indexes of a table that rows are inserted into.
 *
 * The server builds a description of each index of a table for each statement.
 * For a table with seven indexes, as stream_events has, this took 9 % of the
 * instructions of an append. A session keeps the descriptions until the table
 * or one of its indexes changes.
 *
 * The callback for such a change may run while a description is in use. It only
 * marks the table. When it is opened again, the old descriptions are left to
 * the end of the transaction, which no user of them outlives.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/transam.h"
#include "catalog/index.h"
#include "nodes/nodeFuncs.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "server/row_indexes.h"

/* Others are described each time that they are opened. */
#define KNOWN_TABLES 16

typedef struct Indexes
{
	Oid table;
	bool valid;
	bool speculative; /* also described for row_insert_new() */
	bool runs_user_code;
	int n;
	Oid *ids;
	IndexInfo **infos;
	MemoryContext context;
} Indexes;

static Indexes known[KNOWN_TABLES];

/* Since a description was begun. */
static bool changed = false;

static const Indexes *find_indexes(Relation table, bool speculative);
static Indexes *free_place(void);
static void build(Indexes *indexes, Relation table, bool speculative);
static bool has_checks(Relation table);
static bool calls_functions(const IndexInfo *index);
static bool is_or_has_call(Node *node, void *context);
static bool is_added(Oid function, void *context);
static bool has_operator_class(Relation index);
static void listen_for_changes(void);
static void forget(Datum arg, Oid relation);
static bool concerns(const Indexes *indexes, Oid relation);

bool
row_indexes_open(ResultRelInfo *table, bool speculative)
{
	const Indexes *indexes = find_indexes(table->ri_RelationDesc, speculative);
	int i;

	table->ri_NumIndices = indexes->n;
	table->ri_IndexRelationDescs = palloc(sizeof(Relation) * indexes->n);
	table->ri_IndexRelationInfo = palloc(sizeof(IndexInfo *) * indexes->n);
	for (i = 0; i < indexes->n; i++)
	{
		IndexInfo *info = palloc(sizeof(IndexInfo));

		/* The state that an insertion adds is that of this use. */
		*info = *indexes->infos[i];
		info->ii_Context = CurrentMemoryContext;
		table->ri_IndexRelationInfo[i] = info;
		table->ri_IndexRelationDescs[i] =
			index_open(indexes->ids[i], RowExclusiveLock);
	}
	return indexes->runs_user_code;
}

/* The end of the transaction releases all locks at once, at less cost. */
void
row_indexes_close(ResultRelInfo *table)
{
	int i;

	for (i = 0; i < table->ri_NumIndices; i++)
	{
#if PG_VERSION_NUM >= 170000
		index_insert_cleanup(table->ri_IndexRelationDescs[i],
							 table->ri_IndexRelationInfo[i]);
#endif
		index_close(table->ri_IndexRelationDescs[i], NoLock);
	}
}

static const Indexes *
find_indexes(Relation table, bool speculative)
{
	static Indexes built;
	Indexes *place;
	int i;

	for (i = 0; i < KNOWN_TABLES; i++)
	{
		if (known[i].valid && known[i].table == RelationGetRelid(table) &&
			(known[i].speculative || !speculative))
			return &known[i];
	}
	listen_for_changes();
	changed = false;
	build(&built, table, speculative);
	place = free_place();
	if (changed || place == NULL)
		return &built;
	MemoryContextSetParent(built.context, TopMemoryContext);
	*place = built;
	return place;
}

/* Gives up what is known of tables that have changed. */
static Indexes *
free_place(void)
{
	Indexes *place = NULL;
	int i;

	for (i = 0; i < KNOWN_TABLES; i++)
	{
		if (!known[i].valid && known[i].context != NULL)
		{
			MemoryContextSetParent(known[i].context, TopTransactionContext);
			known[i].context = NULL;
		}
		if (!known[i].valid)
			place = &known[i];
	}
	return place;
}

/* The caller makes it the session's. */
static void
build(Indexes *indexes, Relation table, bool speculative)
{
	MemoryContext context = AllocSetContextCreate(TopTransactionContext,
												  "msgstore indexes of a table",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	List *ids = RelationGetIndexList(table);
	ListCell *cell;

	memset(indexes, 0, sizeof(Indexes));
	indexes->table = RelationGetRelid(table);
	indexes->valid = true;
	indexes->speculative = speculative;
	indexes->context = context;
	indexes->runs_user_code = has_checks(table);
	indexes->ids = palloc(sizeof(Oid) * list_length(ids));
	indexes->infos = palloc(sizeof(IndexInfo *) * list_length(ids));
	foreach (cell, ids)
	{
		Relation index = index_open(lfirst_oid(cell), RowExclusiveLock);
		IndexInfo *info = BuildIndexInfo(index);

		if (speculative && info->ii_Unique && info->ii_ExclusionOps == NULL)
			BuildSpeculativeIndexInfo(index, info);
		indexes->runs_user_code = indexes->runs_user_code ||
								  calls_functions(info) ||
								  has_operator_class(index);
		indexes->ids[indexes->n] = lfirst_oid(cell);
		indexes->infos[indexes->n++] = info;
		index_close(index, NoLock);
	}
	MemoryContextSwitchTo(caller);
}

static bool
has_checks(Relation table)
{
	const TupleConstr *constraints = RelationGetDescr(table)->constr;

	return constraints != NULL && constraints->num_check > 0;
}

static bool
calls_functions(const IndexInfo *index)
{
	return index->ii_ExclusionProcs != NULL ||
		   is_or_has_call((Node *) index->ii_Expressions, NULL) ||
		   is_or_has_call((Node *) index->ii_Predicate, NULL);
}

static bool
is_or_has_call(Node *node, void *context)
{
	return node != NULL &&
		   (check_functions_in_node(node, is_added, NULL) ||
			expression_tree_walker(node, is_or_has_call, context));
}

static bool
is_added(Oid function, void *context)
{
	(void) context;
	return function >= FirstNormalObjectId;
}

/* Not one of the server's. */
static bool
has_operator_class(Relation index)
{
	int n = IndexRelationGetNumberOfKeyAttributes(index) *
			index->rd_indam->amsupport;
	int i;

	for (i = 0; i < n; i++)
	{
		if (is_added(index->rd_support[i], NULL))
			return true;
	}
	return false;
}

static void
listen_for_changes(void)
{
	static bool registered = false;

	if (!registered)
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
	registered = true;
}

/* InvalidOid: any relation. */
static void
forget(Datum arg, Oid relation)
{
	int i;

	(void) arg;
	changed = true;
	for (i = 0; i < KNOWN_TABLES; i++)
	{
		if (known[i].valid && concerns(&known[i], relation))
			known[i].valid = false;
	}
}

static bool
concerns(const Indexes *indexes, Oid relation)
{
	int i;

	if (!OidIsValid(relation) || indexes->table == relation)
		return true;
	for (i = 0; i < indexes->n; i++)
	{
		if (indexes->ids[i] == relation)
			return true;
	}
	return false;
}

/*
 * server/row_insert.c: inserts rows into the extension's tables without a
 * statement.
 *
 * Most of the cost of an INSERT of one row is setting up an executor for it.
 * This makes the same calls in the same order as INSERT ... ON CONFLICT DO
 * NOTHING, for a table as the extension created it: a session waits for
 * another one that is inserting the same key, and a row is inserted
 * speculatively.
 *
 * The caller must use a statement for a table that somebody has given
 * triggers, rules or columns, or has made a partition or distributed, and in a
 * transaction with a transaction-wide snapshot. A deferrable constraint has a
 * trigger. The replica identity of a table does not matter to an INSERT.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_operator.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "server/row_indexes.h"
#include "server/row_insert.h"
#include "server/row_ranges.h"
#include "server/search_path.h"
#include "server/tables.h"

/* Rows that are formed before they are written. */
#define ROWS_AT_ONCE 100

static bool is_plain(Relation table, int ncolumns);
static bool has_insert_trigger(Relation table);
static void prepare_form(RowTarget *target);
static void set_values(RowTarget *target,
					   TupleTableSlot *slot,
					   const Datum *values,
					   const bool *nulls);
static void store(RowTarget *target,
				  TupleTableSlot *slot,
				  const Datum *values,
				  const bool *nulls);
static TupleTableSlot **make_slots(RowTarget *target, int n);
static TupleTableSlot *make_slot(const RowTarget *target);
static void store_short(RowTarget *target,
						TupleTableSlot *slot,
						Datum *values,
						bool *nulls);
static void make_form(RowTarget *target, int n);
static bool insert_speculatively(RowTarget *target, List *indexes);
static void insert_index_entries(RowTarget *target,
								 TupleTableSlot *slot,
								 bool *conflict,
								 List *indexes);
static void insert_rows(RowTarget *target, TupleTableSlot **slots, int n);
static bool is_not_indexed(const IndexInfo *index, TupleTableSlot *slot);
static bool is_null_instead(const Node *condition, TupleTableSlot *slot);
static bool is_other_text(const Node *condition, TupleTableSlot *slot);
static bool is_column(const void *node);

bool
row_target_open(RowTarget *target,
				const char *name,
				int ncolumns,
				bool may_be_known)
{
	Relation table;
	int i;

	if (IsolationUsesXactSnapshot())
		return false;
	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	table = tables_open(name, RowExclusiveLock);
	if (!is_plain(table, ncolumns))
	{
		table_close(table, NoLock);
		return false;
	}
	target->path = 0;
	target->table = makeNode(ResultRelInfo);
	target->estate = CreateExecutorState();
	target->slot =
		MakeSingleTupleTableSlot(RelationGetDescr(table), &TTSOpsVirtual);
	/* Without a range table, a constraint violation reports the whole row. */
	InitResultRelInfo(target->table, table, 0, NULL, 0);
	/*
	 * Checks and expressions of indexes can call functions in any language,
	 * which look up names as they run. So can operator classes.
	 */
	if (row_indexes_open(target->table, may_be_known))
		target->path = search_path_pin();
	target->indexes = palloc(sizeof(Relation) * target->table->ri_NumIndices);
	target->ranges = palloc(sizeof(bool) * target->table->ri_NumIndices);
	for (i = 0; i < target->table->ri_NumIndices; i++)
	{
		target->indexes[i] = target->table->ri_IndexRelationDescs[i];
		target->ranges[i] = row_ranges_kept(target->indexes[i]);
	}
	target->estate->es_output_cid = GetCurrentCommandId(true);
	target->slots = NULL;
	target->nslots = 0;
	target->later = NULL;
	target->only_later = false;
	prepare_form(target);
	return true;
}

static bool
is_plain(Relation table, int ncolumns)
{
	TupleConstr *constraints = RelationGetDescr(table)->constr;

	return tables_holds_rows(table) && !table->rd_rel->relispartition &&
		   !has_insert_trigger(table) && table->rd_rules == NULL &&
		   check_enable_rls(RelationGetRelid(table), InvalidOid, true) !=
			   RLS_ENABLED &&
		   RelationGetDescr(table)->natts == ncolumns &&
		   (constraints == NULL || !constraints->has_generated_stored);
}

/* Triggers for other operations do not matter to an INSERT. */
static bool
has_insert_trigger(Relation table)
{
	const TriggerDesc *triggers = table->trigdesc;

	return triggers != NULL && (triggers->trig_insert_before_row ||
								triggers->trig_insert_after_row ||
								triggers->trig_insert_instead_row ||
								triggers->trig_insert_before_statement ||
								triggers->trig_insert_after_statement);
}

/*
 * A heap row may have fewer columns than its table: the others are null, as
 * after ADD COLUMN. A row whose only nulls are such columns needs no bitmap of
 * nulls, which takes eight bytes. A column whose default is not stored in older
 * rows would have that default.
 */
static void
prepare_form(RowTarget *target)
{
	Relation table = target->table->ri_RelationDesc;
	TupleDesc row = RelationGetDescr(table);

	target->is_heap = table->rd_rel->relam == HEAP_TABLE_AM_OID;
	target->form = NULL;
	target->least = row->natts;
	while (target->least > 1 &&
		   !TupleDescAttr(row, target->least - 1)->atthasmissing)
		target->least--;
}

/* Locks end with the transaction. */
void
row_target_close(RowTarget *target)
{
	Relation table = target->table->ri_RelationDesc;
	int i;

	row_indexes_close(target->table);
	search_path_release(target->path);
	for (i = 0; i < target->nslots; i++)
		ExecDropSingleTupleTableSlot(target->slots[i]);
	ExecDropSingleTupleTableSlot(target->slot);
	if (target->form != NULL)
		FreeTupleDesc(target->form);
	FreeExecutorState(target->estate);
	table_close(table, NoLock);
	CommandCounterIncrement();
}

Relation
row_target_index(const RowTarget *target, const char *name)
{
	int i;

	for (i = 0; i < target->table->ri_NumIndices; i++)
	{
		Relation index = target->table->ri_IndexRelationDescs[i];

		if (strcmp(RelationGetRelationName(index), name) == 0)
			return index;
	}
	elog(ERROR, "index \"%s\" does not exist", name);
	return NULL;
}

bool
row_insert_new(RowTarget *target,
			   const Datum *values,
			   const bool *nulls,
			   List *indexes)
{
	store(target, target->slot, values, nulls);
	return insert_speculatively(target, indexes);
}

/* Checks the constraints, too. The values remain the caller's. */
static void
store(RowTarget *target,
	  TupleTableSlot *slot,
	  const Datum *values,
	  const bool *nulls)
{
	set_values(target, slot, values, nulls);
	if (RelationGetDescr(target->table->ri_RelationDesc)->constr != NULL)
		ExecConstraints(target->table, slot, target->estate);
}

static void
set_values(RowTarget *target,
		   TupleTableSlot *slot,
		   const Datum *values,
		   const bool *nulls)
{
	int n = slot->tts_tupleDescriptor->natts;

	ResetPerTupleExprContext(target->estate);
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * n);
	memcpy(slot->tts_isnull, nulls, sizeof(bool) * n);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(target->table->ri_RelationDesc);
}

void
row_insert_many(RowTarget *target, RowReader read, const void *rows, int n)
{
	row_insert_most(target, read, rows, n, NULL, NULL);
}

void
row_insert_most(RowTarget *target,
				RowReader read,
				const void *rows,
				int n,
				Relation later,
				ItemPointerData *places)
{
	int nslots = Min(n, ROWS_AT_ONCE);
	TupleTableSlot **slots = make_slots(target, nslots);
	int columns = target->slot->tts_tupleDescriptor->natts;
	Datum *values = palloc(sizeof(Datum) * columns);
	bool *nulls = palloc(sizeof(bool) * columns);
	int done = 0;
	int i;

	target->later = later;
	for (i = 0; i < n; i++)
	{
		TupleTableSlot *slot = slots[i % nslots];

		read(rows, i, values, nulls);
		store(target, slot, values, nulls);
		store_short(target, slot, values, nulls);
		if ((i + 1) % nslots > 0 && i < n - 1)
			continue;
		insert_rows(target, slots, i + 1 - done);
		for (; done <= i; done++)
		{
			if (places != NULL)
				places[done] = slots[done % nslots]->tts_tid;
		}
	}
	for (i = 0; i < nslots; i++)
		ExecClearTuple(slots[i]);
	target->later = NULL;
}

/* Those of the last call remain. */
static TupleTableSlot **
make_slots(RowTarget *target, int n)
{
	if (target->slots == NULL)
		target->slots = palloc(sizeof(TupleTableSlot *) * ROWS_AT_ONCE);
	for (; target->nslots < n; target->nslots++)
		target->slots[target->nslots] = make_slot(target);
	return target->slots;
}

static TupleTableSlot *
make_slot(const RowTarget *target)
{
	Relation table = target->table->ri_RelationDesc;

	return target->is_heap ? MakeSingleTupleTableSlot(RelationGetDescr(table),
													  &TTSOpsHeapTuple)
						   : table_slot_create(table, NULL);
}

/* See prepare_form(). */
static void
store_short(RowTarget *target, TupleTableSlot *slot, Datum *values, bool *nulls)
{
	int n = slot->tts_tupleDescriptor->natts;

	if (!target->is_heap)
		return;
	while (n > target->least && nulls[n - 1])
		n--;
	if (target->form == NULL || target->form->natts != n)
		make_form(target, n);
	ExecStoreHeapTuple(heap_form_tuple(target->form, values, nulls),
					   slot,
					   true);
}

/* For the first n columns. */
static void
make_form(RowTarget *target, int n)
{
	TupleDesc row = RelationGetDescr(target->table->ri_RelationDesc);
	int i;

	if (target->form != NULL)
		FreeTupleDesc(target->form);
	target->form = CreateTemplateTupleDesc(n);
	for (i = 1; i <= n; i++)
		TupleDescCopyEntry(target->form, i, row, i);
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(target->form);
#endif
}

void
row_insert_later(RowTarget *target,
				 const Datum *values,
				 const bool *nulls,
				 Relation later,
				 const ItemPointerData *place)
{
	CHECK_FOR_INTERRUPTS();
	set_values(target, target->slot, values, nulls);
	target->slot->tts_tid = *place;
	target->later = later;
	target->only_later = true;
	insert_index_entries(target, target->slot, NULL, NIL);
	target->later = NULL;
	target->only_later = false;
}

/* For a single row, table_multi_insert() would write a larger WAL record. */
static void
insert_rows(RowTarget *target, TupleTableSlot **slots, int n)
{
	Relation table = target->table->ri_RelationDesc;
	CommandId command = target->estate->es_output_cid;
	int i;

	CHECK_FOR_INTERRUPTS();
	if (n == 1)
		table_tuple_insert(table, slots[0], command, 0, NULL);
	else
		table_multi_insert(table, slots, n, command, 0, NULL);
	for (i = 0; i < n; i++)
	{
		ResetPerTupleExprContext(target->estate);
		insert_index_entries(target, slots[i], NULL, NIL);
	}
	for (i = 0; i < target->table->ri_NumIndices; i++)
	{
		if (target->ranges[i])
			row_ranges_insert(target->indexes[i],
							  target->table->ri_IndexRelationInfo[i],
							  table,
							  slots,
							  n);
	}
}

/*
 * As ExecInsert() does it. If a conflict arises after the row was inserted,
 * the row is killed and the check repeated; the check waits for the other
 * transaction.
 */
static bool
insert_speculatively(RowTarget *target, List *indexes)
{
	Relation table = target->table->ri_RelationDesc;
	TransactionId xid = GetCurrentTransactionId();
	bool conflict = true;

	while (conflict)
	{
		ItemPointerData found;
		uint32 token;

		CHECK_FOR_INTERRUPTS();
		ItemPointerSetInvalid(&found);
		if (!ExecCheckIndexConstraints(target->table,
									   target->slot,
									   target->estate,
									   &found,
#if PG_VERSION_NUM >= 180000
									   &target->slot->tts_tid,
#endif
									   indexes))
			return false;
		token = SpeculativeInsertionLockAcquire(xid);
		table_tuple_insert_speculative(table,
									   target->slot,
									   target->estate->es_output_cid,
									   0,
									   NULL,
									   token);
		conflict = false;
		insert_index_entries(target, target->slot, &conflict, indexes);
		table_tuple_complete_speculative(table, target->slot, token, !conflict);
		SpeculativeInsertionLockRelease(xid);
	}
	return true;
}

/* If conflict is NULL, a conflict is an error. */
static void
insert_index_entries(RowTarget *target,
					 TupleTableSlot *slot,
					 bool *conflict,
					 List *indexes)
{
	ResultRelInfo *info = target->table;
	Relation *opened = target->indexes;
	int n = info->ri_NumIndices;
	int i;

	/* The server's function passes over indexes that are not open. */
	for (i = 0; i < n; i++)
	{
		if ((target->later != NULL &&
			 (opened[i] == target->later) != target->only_later) ||
			(target->ranges[i] && conflict == NULL) ||
			is_not_indexed(info->ri_IndexRelationInfo[i], slot))
			info->ri_IndexRelationDescs[i] = NULL;
	}
#if PG_VERSION_NUM >= 190000
	(void) ExecInsertIndexTuples(target->table,
								 target->estate,
								 conflict != NULL ? EIIT_NO_DUPE_ERROR : 0,
								 slot,
								 indexes,
								 conflict);
#else
	(void) ExecInsertIndexTuples(target->table,
								 slot,
								 target->estate,
								 false,
								 conflict != NULL,
								 conflict,
								 indexes
#if PG_VERSION_NUM >= 160000
								 ,
								 false
#endif
	);
#endif
	for (i = 0; i < n; i++)
		info->ri_IndexRelationDescs[i] = opened[i];
}

/*
 * Whether a partial index leaves out the row because of a condition of the form
 * column IS NOT NULL or column = 'text'. To initialize the conditions for the
 * executor costs as much as an index entry that is not made.
 */
static bool
is_not_indexed(const IndexInfo *index, TupleTableSlot *slot)
{
	ListCell *cell;

	foreach (cell, index->ii_Predicate)
	{
		if (is_null_instead(lfirst(cell), slot) ||
			is_other_text(lfirst(cell), slot))
			return true;
	}
	return false;
}

static bool
is_null_instead(const Node *condition, TupleTableSlot *slot)
{
	const NullTest *test = (const NullTest *) condition;

	return IsA(condition, NullTest) && test->nulltesttype == IS_NOT_NULL &&
		   !test->argisrow && is_column(test->arg) &&
		   slot_attisnull(slot, ((const Var *) test->arg)->varattno);
}

/* A text of another length is another text, in collation C. */
static bool
is_other_text(const Node *condition, TupleTableSlot *slot)
{
	const OpExpr *equal = (const OpExpr *) condition;
	const Const *text_value;
	bool isnull;
	Datum value;

	if (!IsA(condition, OpExpr) || equal->opno != TextEqualOperator ||
		equal->inputcollid != C_COLLATION_OID ||
		!is_column(linitial(equal->args)) || !IsA(lsecond(equal->args), Const))
		return false;
	text_value = lsecond(equal->args);
	value = slot_getattr(slot,
						 ((const Var *) linitial(equal->args))->varattno,
						 &isnull);
	return isnull || text_value->constisnull ||
		   !datum_image_eq(value, text_value->constvalue, false, -1);
}

static bool
is_column(const void *node)
{
	return IsA(node, Var) && ((const Var *) node)->varattno > 0;
}

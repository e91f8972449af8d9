/*
 * server/row_ranges.c: entries of rows in indexes of ranges of pages.
 *
 * A BRIN index keeps the least and the greatest value of each range of pages.
 * Of the rows that a batch adds to a range, those with these values make the
 * summary what all of them would make it. An entry for each row took 3 % of the
 * time of a worker.
 */
#include "postgres.h"

#include "access/brin.h"
#include "access/brin_internal.h"
#include "access/genam.h"
#include "access/transam.h"
#include "catalog/pg_am.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "server/row_ranges.h"

static int find_extremes(Relation index,
						 int column,
						 TupleTableSlot **rows,
						 int n,
						 int *at);
static BlockNumber range_of(Relation index, TupleTableSlot *row);
static void insert_entry(Relation index,
						 IndexInfo *info,
						 Relation table,
						 TupleTableSlot *row);

/*
 * Only an entry of the first row of a page can ask for a summary of the range
 * before. Built-in orders are those of the types.
 */
bool
row_ranges_kept(Relation index)
{
	return index->rd_rel->relam == BRIN_AM_OID &&
		   !BrinGetAutoSummarize(index) &&
		   index->rd_opfamily[0] < FirstNormalObjectId &&
		   IndexRelationGetNumberOfAttributes(index) == 1 &&
		   index->rd_index->indkey.values[0] > 0 &&
		   RelationGetIndexPredicate(index) == NIL &&
		   index_getprocid(index, 1, BRIN_PROCNUM_OPCINFO) ==
			   F_BRIN_MINMAX_OPCINFO;
}

void
row_ranges_insert(Relation index,
				  IndexInfo *info,
				  Relation table,
				  TupleTableSlot **rows,
				  int n)
{
	int column = index->rd_index->indkey.values[0];
	int first;
	int next;

	for (first = 0; first < n; first = next)
	{
		BlockNumber range = range_of(index, rows[first]);
		int extremes[3];
		int i;
		int k;

		for (next = first + 1; next < n && range_of(index, rows[next]) == range;
			 next++)
			;
		k = find_extremes(index, column, rows + first, next - first, extremes);
		for (i = 0; i < k; i++)
			insert_entry(index, info, table, rows[first + extremes[i]]);
	}
}

/* The rows with a null, the least and the greatest value; returns how many. */
static int
find_extremes(Relation index, int column, TupleTableSlot **rows, int n, int *at)
{
	Oid type =
		TupleDescAttr(rows[0]->tts_tupleDescriptor, column - 1)->atttypid;
	FmgrInfo *compare =
		&lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO)->cmp_proc_finfo;
	Oid collation = index->rd_indcollation[0];
	Datum least = (Datum) 0;
	Datum greatest = (Datum) 0;
	int first = -1;
	int last = -1;
	int null = -1;
	int k = 0;
	int i;

	for (i = 0; i < n; i++)
	{
		bool isnull;
		Datum value = slot_getattr(rows[i], column, &isnull);

		if (isnull)
			null = i;
		else if (first < 0)
		{
			first = last = i;
			least = greatest = value;
		}
		else if (DatumGetInt32(
					 FunctionCall2Coll(compare, collation, value, least)) < 0)
		{
			first = i;
			least = value;
		}
		else if (DatumGetInt32(
					 FunctionCall2Coll(compare, collation, value, greatest)) >
				 0)
		{
			last = i;
			greatest = value;
		}
	}
	if (null >= 0)
		at[k++] = null;
	if (first >= 0)
		at[k++] = first;
	if (last != first)
		at[k++] = last;
	return k;
}

static BlockNumber
range_of(Relation index, TupleTableSlot *row)
{
	return ItemPointerGetBlockNumber(&row->tts_tid) /
		   BrinGetPagesPerRange(index);
}

static void
insert_entry(Relation index,
			 IndexInfo *info,
			 Relation table,
			 TupleTableSlot *row)
{
	Datum value;
	bool isnull;

	value = slot_getattr(row, index->rd_index->indkey.values[0], &isnull);
	(void) index_insert(index,
						&value,
						&isnull,
						&row->tts_tid,
						table,
						UNIQUE_CHECK_NO,
						false,
						info);
}

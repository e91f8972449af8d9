/*
 * server/row_ranges.h: entries of rows in indexes of ranges of pages.
 */
#ifndef SERVER_ROW_RANGES_H
#define SERVER_ROW_RANGES_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* Whether the index keeps the least and the greatest value of each range. */
extern bool row_ranges_kept(Relation index);

/* Makes the entries of rows that were inserted into the table, in its order. */
extern void row_ranges_insert(Relation index,
							  IndexInfo *info,
							  Relation table,
							  TupleTableSlot **rows,
							  int n);

#endif /* SERVER_ROW_RANGES_H */

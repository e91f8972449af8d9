/*
 * server/row_insert.h: inserts rows into the extension's tables without a
 * statement.
 */
#ifndef SERVER_ROW_INSERT_H
#define SERVER_ROW_INSERT_H

#include "executor/executor.h"

typedef struct RowTarget
{
	ResultRelInfo *table;
	EState *estate;
	TupleTableSlot *slot;
	int path; /* see search_path.h */
} RowTarget;

/*
 * Opens a table of the schema msgstore. may_be_known is needed for
 * row_insert_new(), which accepts keys that exist. Returns false if the caller
 * must use a statement instead: somebody has altered the table, or the
 * snapshot is transaction-wide.
 */
extern bool row_target_open(RowTarget *target,
							const char *name,
							int ncolumns,
							bool may_be_known);

/* Makes the rows visible to later commands of the transaction. */
extern void row_target_close(RowTarget *target);

/* Returns an index of the table by its name. */
extern Relation row_target_index(const RowTarget *target, const char *name);

/*
 * Inserts a row, given a value or null for each column. Returns false, having
 * inserted nothing, if its key exists in one of these unique indexes (NIL: in
 * any).
 */
extern bool row_insert_new(RowTarget *target,
						   const Datum *values,
						   const bool *nulls,
						   List *indexes);

/* Puts the columns of the i-th row into the arrays. */
typedef void (*RowReader)(const void *rows, int i, Datum *values, bool *nulls);

/* Inserts rows page by page; a key that exists is an error. */
extern void
row_insert_many(RowTarget *target, RowReader read, const void *rows, int n);

#endif /* SERVER_ROW_INSERT_H */

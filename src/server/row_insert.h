/*
 * server/row_insert.h: adds rows to a table of ours without a statement.
 */
#ifndef SERVER_ROW_INSERT_H
#define SERVER_ROW_INSERT_H

#include "executor/executor.h"

typedef struct RowTarget
{
	ResultRelInfo *table;
	EState *estate;
	TupleTableSlot *slot;
} RowTarget;

/*
 * Opens a table of the schema msgstore; keys may be known already if
 * row_insert_new() is to be called. False: it is not as the extension made it,
 * or the snapshot is the whole transaction's, and rows are to be added by a
 * statement.
 */
extern bool row_target_open(RowTarget *target,
							const char *name,
							int ncolumns,
							bool may_be_known);

/* The rows are visible to what follows in the transaction. */
extern void row_target_close(RowTarget *target);

/* One of its indexes, by the name that the extension gave it. */
extern Relation row_target_index(const RowTarget *target, const char *name);

/*
 * Adds a row that has a value or null for each column. False, and no row, when
 * one of the unique indexes holds its key already; NIL stands for all of them.
 */
extern bool row_insert_new(RowTarget *target,
						   const Datum *values,
						   const bool *nulls,
						   List *indexes);

/* Puts the i-th row's columns into the arrays. */
typedef void (*RowReader)(const void *rows, int i, Datum *values, bool *nulls);

/* Adds rows whose keys are new, page by page; a key that is not is an error. */
extern void
row_insert_many(RowTarget *target, RowReader read, const void *rows, int n);

#endif /* SERVER_ROW_INSERT_H */

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
	Relation *indexes;
	bool *ranges; /* which of them row_ranges.c takes care of */
	int path;	  /* see search_path.h */
	bool is_heap;
	int least;				/* columns that each row has */
	TupleDesc form;			/* of the last row formed, or NULL */
	TupleTableSlot **slots; /* of the rows of row_insert_most() */
	int nslots;
	Relation later;	 /* index of row_insert_later(), or NULL */
	bool only_later; /* inserts into no other index */
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

/*
 * Inserts rows without their entries in one index, and notes their places; the
 * caller then passes each of them to row_insert_later(), which needs only the
 * columns of the index. NULL: in no index.
 */
extern void row_insert_most(RowTarget *target,
							RowReader read,
							const void *rows,
							int n,
							Relation later,
							ItemPointerData *places);
extern void row_insert_later(RowTarget *target,
							 const Datum *values,
							 const bool *nulls,
							 Relation later,
							 const ItemPointerData *place);

#endif /* SERVER_ROW_INSERT_H */

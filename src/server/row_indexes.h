/*
 * server/row_indexes.h: the indexes of a table that rows are inserted into.
 */
#ifndef SERVER_ROW_INDEXES_H
#define SERVER_ROW_INDEXES_H

#include "executor/executor.h"

/*
 * Does what ExecOpenIndices() does, for a table that is locked. Returns whether
 * a constraint or an index runs functions that are not the server's. What it
 * opens lives in the current memory context, and no longer than the
 * transaction.
 */
extern bool row_indexes_open(ResultRelInfo *table, bool speculative);

/* Leaves the locks to the end of the transaction. */
extern void row_indexes_close(ResultRelInfo *table);

#endif /* SERVER_ROW_INDEXES_H */

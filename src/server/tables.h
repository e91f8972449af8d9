/*
 * server/tables.h: opens the extension's tables, and tells whether somebody has
 * made something else of them.
 */
#ifndef SERVER_TABLES_H
#define SERVER_TABLES_H

#include "utils/rel.h"

/* Opens a table of the schema msgstore. */
extern Relation tables_open(const char *name, LOCKMODE lock);

/*
 * Whether the rows are in this table: it is neither partitioned, nor foreign,
 * nor distributed by another extension. Cheap enough for each call.
 */
extern bool tables_holds_rows(Relation table);

/*
 * Opens an index of an open table to read its rows. Returns NULL if a statement
 * must read them: the rows or the index are not there.
 */
extern Relation tables_open_index(Relation table, const char *name);

/* Opens a table whose rows are read or written without statements; raises MS503
 * if it does not hold them. */
extern Relation tables_open_rows(const char *name, LOCKMODE lock);

#endif /* SERVER_TABLES_H */

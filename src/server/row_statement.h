/*
 * server/row_statement.h: inserts rows by a statement, where row_insert.h
 * cannot, and with it if it can.
 */
#ifndef SERVER_ROW_STATEMENT_H
#define SERVER_ROW_STATEMENT_H

#include "server/row_insert.h"

/*
 * Inserts rows into a table of the schema msgstore whose first columns are
 * these, by the fastest way that the table allows. A key that exists is an
 * error. The caller is connected to SPI.
 */
extern void row_insert_any(const char *table,
						   int ncolumns,
						   RowReader read,
						   const void *rows,
						   int n);

/* A random uuid for a row that only needs a key. */
extern Datum row_key_new(void);

/*
 * The same by a statement. If key, the columns of a unique constraint, is not
 * NULL, a row whose key exists is not inserted; stored[i] says which were.
 * Raises MS503 if a trigger suppresses or changes a row; if key is given, a
 * suppressed row is not told from one whose key exists.
 */
extern void row_insert_by_statement(const char *table,
									int ncolumns,
									const char *key,
									RowReader read,
									const void *rows,
									int n,
									bool *stored);

#endif /* SERVER_ROW_STATEMENT_H */

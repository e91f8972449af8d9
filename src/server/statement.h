/*
 * server/statement.h: SQL statements that a backend prepares once and keeps.
 *
 * The caller is connected to SPI. values holds the arguments in order; an
 * argument is null if its character in nulls is 'n' (nulls may be NULL).
 */
#ifndef SERVER_STATEMENT_H
#define SERVER_STATEMENT_H

#include "executor/spi.h"
#include "storage/block.h"

#define STATEMENT_MAX_ARGS 24

typedef struct Statement
{
	const char *sql;
	int nargs;
	Oid argtypes[STATEMENT_MAX_ARGS];
	const char *table; /* is planned again as this table grows; or NULL */
	bool read_only;	   /* uses the snapshot of the caller's statement */

	/* state in this backend */
	SPIPlanPtr plan;	/* NULL until the first execution */
	bool planned;		/* the plan was made at least once */
	BlockNumber blocks; /* size of the table when the plan was made */
} Statement;

/* Executes the statement; the result is in SPI_tuptable and SPI_processed. */
extern void
statement_execute(Statement *statement, Datum *values, const char *nulls);

/* Returns a column of a row of the last result. */
extern Datum statement_value(uint64 row, int column, bool *isnull);

/* Returns an array of n values, some of which may be null. */
extern Datum statement_array(Oid type, Datum *values, bool *nulls, int n);

#endif /* SERVER_STATEMENT_H */

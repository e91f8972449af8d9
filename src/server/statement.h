/*
 * server/statement.h: an SQL statement that a backend prepares once and keeps.
 *
 * The caller is connected to SPI. Values follow the order of the statement's
 * arguments; a value whose place in nulls is 'n' is null (nulls may be NULL).
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
	const char *table; /* whose growth makes the plan anew, or NULL */
	bool read_only;	   /* sees what the caller's statement sees */

	/* of this backend */
	SPIPlanPtr plan;	/* NULL until the first execution */
	bool planned;		/* the plan has been made at least once */
	BlockNumber blocks; /* of the table, when the plan was made */
} Statement;

/* Runs the statement; the result is in SPI_tuptable and SPI_processed. */
extern void
statement_execute(Statement *statement, Datum *values, const char *nulls);

/* Column values of a row of the last result. */
extern Datum statement_value(uint64 row, int column, bool *isnull);

/* A one-dimensional array of n values, some of which may be null. */
extern Datum statement_array(Oid type, Datum *values, bool *nulls, int n);

#endif /* SERVER_STATEMENT_H */

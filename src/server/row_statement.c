/*
 * server/row_statement.c: inserts rows by a statement.
 *
 * It serves tables that somebody has altered, and transactions with a
 * transaction-wide snapshot. The statement returns the rows as they were
 * inserted, so that a trigger which suppressed or changed one is found.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "server/random.h"
#include "server/row_statement.h"
#include "server/statement.h"
#include "server/tables.h"
#include "server/triggers.h"

/* Tables that rows are inserted into by this module. */
#define MAX_TABLES 16

typedef struct RowStatement
{
	const char *table; /* NULL: the entry is free */
	Oid types[STATEMENT_MAX_ARGS];
	int16 lengths[STATEMENT_MAX_ARGS];
	bool byval[STATEMENT_MAX_ARGS];
	Statement statement;
} RowStatement;

static RowStatement *
find_statement(const char *table, int ncolumns, const char *key);
static void
make_statement(RowStatement *made, const char *name, int n, const char *key);
static void read_columns(RowReader read,
						 const void *rows,
						 int n,
						 int ncolumns,
						 Datum *columns,
						 bool *nulls);
static bool is_returned(const RowStatement *made,
						uint64 row,
						const Datum *columns,
						const bool *nulls,
						int i,
						int n);

void
row_insert_any(const char *table,
			   int ncolumns,
			   RowReader read,
			   const void *rows,
			   int n)
{
	RowTarget target;

	if (!row_target_open(&target, table, ncolumns, false))
	{
		row_insert_by_statement(table, ncolumns, NULL, read, rows, n, NULL);
		return;
	}
	row_insert_many(&target, read, rows, n);
	row_target_close(&target);
}

Datum
row_key_new(void)
{
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

	random_take(id->data, UUID_LEN);
	id->data[6] = (id->data[6] & 0x0f) | 0x40;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	return UUIDPGetDatum(id);
}

/* The rows come back in their order. */
void
row_insert_by_statement(const char *table,
						int ncolumns,
						const char *key,
						RowReader read,
						const void *rows,
						int n,
						bool *stored)
{
	RowStatement *made = find_statement(table, ncolumns, key);
	Datum *columns = palloc(sizeof(Datum) * n * ncolumns);
	bool *nulls = palloc(sizeof(bool) * n * ncolumns);
	Datum values[STATEMENT_MAX_ARGS];
	uint64 row = 0;
	int i;

	if (n == 0)
		return;
	read_columns(read, rows, n, ncolumns, columns, nulls);
	for (i = 0; i < ncolumns; i++)
		values[i] =
			statement_array(made->types[i], columns + i * n, nulls + i * n, n);
	statement_execute(&made->statement, values, NULL);
	for (i = 0; i < n; i++)
	{
		bool found =
			row < SPI_processed && is_returned(made, row, columns, nulls, i, n);

		row += found;
		if (key != NULL)
			stored[i] = found;
		else if (!found)
			triggers_report(table, TRIGGER_TYPE_INSERT);
	}
	if (row < SPI_processed)
		triggers_report(table, TRIGGER_TYPE_INSERT);
}

static RowStatement *
find_statement(const char *table, int ncolumns, const char *key)
{
	static RowStatement known[MAX_TABLES];
	int i;

	for (i = 0; i < MAX_TABLES && known[i].table != NULL; i++)
	{
		if (strcmp(known[i].table, table) == 0)
			return &known[i];
	}
	if (i == MAX_TABLES || ncolumns > STATEMENT_MAX_ARGS)
		elog(ERROR, "cannot insert into table \"%s\" by a statement", table);
	make_statement(&known[i], table, ncolumns, key);
	known[i].table = MemoryContextStrdup(TopMemoryContext, table);
	return &known[i];
}

static void
make_statement(RowStatement *made, const char *name, int n, const char *key)
{
	Relation table = tables_open(name, AccessShareLock);
	TupleDesc row = RelationGetDescr(table);
	StringInfoData names;
	StringInfoData sql;
	int i;

	if (row->natts < n)
		elog(ERROR, "table \"%s\" has too few columns", name);
	initStringInfo(&names);
	initStringInfo(&sql);
	for (i = 0; i < n; i++)
	{
		Form_pg_attribute column = TupleDescAttr(row, i);

		appendStringInfo(&names,
						 "%s%s",
						 i > 0 ? ", " : "",
						 quote_identifier(NameStr(column->attname)));
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
		made->types[i] = column->atttypid;
		made->lengths[i] = column->attlen;
		made->byval[i] = column->attbyval;
		made->statement.argtypes[i] = get_array_type(column->atttypid);
	}
	table_close(table, NoLock);
	made->statement.nargs = n;
	made->statement.sql = MemoryContextStrdup(
		TopMemoryContext,
		psprintf("INSERT INTO msgstore.%s (%s) SELECT n.* FROM unnest(%s) AS n"
				 "%s%s%s RETURNING %s",
				 name,
				 names.data,
				 sql.data,
				 key != NULL ? " ON CONFLICT (" : "",
				 key != NULL ? key : "",
				 key != NULL ? ") DO NOTHING" : "",
				 names.data));
}

static void
read_columns(RowReader read,
			 const void *rows,
			 int n,
			 int ncolumns,
			 Datum *columns,
			 bool *nulls)
{
	Datum row[STATEMENT_MAX_ARGS] = {0};
	bool row_nulls[STATEMENT_MAX_ARGS];
	int column;
	int i;

	for (i = 0; i < n; i++)
	{
		read(rows, i, row, row_nulls);
		for (column = 0; column < ncolumns; column++)
		{
			columns[column * n + i] = row[column];
			nulls[column * n + i] = row_nulls[column];
		}
	}
}

/* Whether the statement returned this row as it was given. */
static bool
is_returned(const RowStatement *made,
			uint64 row,
			const Datum *columns,
			const bool *nulls,
			int i,
			int n)
{
	int column;

	for (column = 0; column < made->statement.nargs; column++)
	{
		bool isnull;
		Datum returned = statement_value(row, column + 1, &isnull);

		if (isnull != nulls[column * n + i])
			return false;
		if (!isnull && !datum_image_eq(returned,
									   columns[column * n + i],
									   made->byval[column],
									   made->lengths[column]))
			return false;
	}
	return true;
}

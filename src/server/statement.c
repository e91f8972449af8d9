/*
 * server/statement.c: statements that are prepared once and work at any size.
 *
 * Every statement of the module must find its rows by index, whatever the
 * current statistics of the tables say: a queue is mostly empty when it is
 * analyzed, and a plan made for a new table must still be right with millions
 * of rows. So the plan is generic, and plans that read whole tables are
 * disabled while it is made.
 *
 * The planner still chooses the index. Every key begins with the tenant, and
 * for a table that is empty or was never analyzed the planner assumes that the
 * tenant alone identifies a row. So the plan for such a table is made again
 * each time the table has doubled in size, until it is too large for that
 * assumption.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "server/search_path.h"
#include "server/statement.h"
#include "server/tables.h"

/* From this size on, a plan is kept until the server invalidates it. */
#define LARGE_TABLE 1000 /* blocks */

static bool is_outgrown(Statement *statement, BlockNumber *blocks);
static void prepare(Statement *statement);
static void close_table_scans(void);

void
statement_execute(Statement *statement, Datum *values, const char *nulls)
{
	MemoryContext caller = CurrentMemoryContext;
	BlockNumber blocks = 0;
	int path = search_path_pin();
	int nest_level = 0;
	int rc;

	if (statement->plan != NULL && is_outgrown(statement, &blocks))
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	if (statement->plan == NULL)
	{
		prepare(statement);
		statement->blocks = blocks;
	}
	if (!statement->planned || !SPI_plan_is_valid(statement->plan))
	{
		nest_level = NewGUCNestLevel();
		close_table_scans();
	}
	rc = SPI_execute_plan(statement->plan,
						  values,
						  nulls,
						  statement->read_only,
						  0);
	if (nest_level > 0)
		AtEOXact_GUC(true, nest_level);
	search_path_release(path);
	/* SPI has switched to its own context, which ends with the connection. */
	MemoryContextSwitchTo(caller);
	if (rc < 0)
		elog(ERROR,
			 "unexpected SPI result %s of \"%s\"",
			 SPI_result_code_string(rc),
			 statement->sql);
	statement->planned = true;
}

Datum
statement_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row],
						 SPI_tuptable->tupdesc,
						 column,
						 isnull);
}

Datum
statement_array(Oid type, Datum *values, bool *nulls, int n)
{
	int16 length;
	bool byval;
	char align;
	int lower = 1;

	get_typlenbyvalalign(type, &length, &byval, &align);
	return PointerGetDatum(construct_md_array(values,
											  nulls,
											  1,
											  &n,
											  &lower,
											  type,
											  length,
											  byval,
											  align));
}

static bool
is_outgrown(Statement *statement, BlockNumber *blocks)
{
	Relation table;

	if (statement->table == NULL || statement->blocks >= LARGE_TABLE)
		return false;
	table = tables_open(statement->table, AccessShareLock);
	*blocks = RelationGetNumberOfBlocks(table);
	table_close(table, NoLock);
	return *blocks > 2 * statement->blocks;
}

static void
prepare(Statement *statement)
{
	SPIPlanPtr plan;

	plan = SPI_prepare_cursor(statement->sql,
							  statement->nargs,
							  statement->argtypes,
							  CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR,
			 "could not prepare \"%s\": %s",
			 statement->sql,
			 SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of \"%s\"", statement->sql);
	statement->plan = plan;
	statement->planned = false;
}

static void
close_table_scans(void)
{
	static const char *const closed[] = {"enable_bitmapscan",
										 "enable_hashjoin",
										 "enable_mergejoin",
										 "enable_seqscan",
										 "enable_sort",
										 "jit"};
	Size i;

	for (i = 0; i < lengthof(closed); i++)
		(void) set_config_option(closed[i],
								 "off",
								 PGC_USERSET,
								 PGC_S_SESSION,
								 GUC_ACTION_SAVE,
								 true,
								 0,
								 false);
}

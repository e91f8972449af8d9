/*
 * streams/upkeep.c: the worker's turns at the retention of streams and at
 * their seals.
 *
 * The rules are in sql/50_streams/72_retention.sql and 74_seals.sql.
 */
#include "postgres.h"

#include "server/settings.h"
#include "server/statement.h"
#include "streams/upkeep.h"

static Statement retain = {.sql = "SELECT msgstore._retention_turn()"};
static Statement seal = {.sql = "SELECT msgstore._seal_turn()"};

static long run(Statement *statement);

long
streams_retention_turn(void)
{
	return run(&retain);
}

long
streams_seal_turn(void)
{
	return msgstore_seal_interval > 0 ? run(&seal) : -1;
}

static long
run(Statement *statement)
{
	bool isnull;

	statement_execute(statement, NULL, NULL);
	return (long) DatumGetInt64(statement_value(0, 1, &isnull));
}

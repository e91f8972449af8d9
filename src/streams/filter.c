/*
 * streams/filter.c: reads of events of some types or with some metadata.
 *
 * A read without a filter has one plan, which follows the order of the events.
 * With a filter, the best plan depends on how rare the events are: a read of a
 * frequent type still follows the order, but one of a rare type finds it by the
 * index on types, and one of a trace by the table of keys. So the statement is
 * planned for each call.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"

#include "streams/filter.h"

static bool has_trace(Jsonb *metadata);
static bool is_text(JsonbContainer *object, const char *key);

void
filter_execute(const Statement *statement,
			   const Datum *values,
			   ArrayType *types,
			   Jsonb *metadata)
{
	const char *order = strstr(statement->sql, " ORDER BY ");
	Oid argtypes[STATEMENT_MAX_ARGS];
	Datum args[STATEMENT_MAX_ARGS];
	StringInfoData sql;
	int n = statement->nargs;
	int rc;

	memcpy(argtypes, statement->argtypes, sizeof(Oid) * n);
	memcpy(args, values, sizeof(Datum) * n);
	initStringInfo(&sql);
	appendBinaryStringInfo(&sql, statement->sql, order - statement->sql);
	if (types != NULL)
	{
		argtypes[n] = TEXTARRAYOID;
		args[n++] = PointerGetDatum(types);
		appendStringInfo(&sql, " AND type = ANY ($%d)", n);
	}
	if (metadata != NULL)
	{
		argtypes[n] = JSONBOID;
		args[n++] = JsonbPGetDatum(metadata);
		appendStringInfo(&sql, " AND metadata @> $%d", n);
		if (has_trace(metadata))
			appendStringInfo(
				&sql,
				" AND global_position IN (SELECT k.global_position"
				" FROM msgstore.stream_event_keys k WHERE k.tenant_id = $1"
				" AND k.key = ANY (msgstore._event_keys($%d, NULL)))",
				n);
	}
	appendStringInfoString(&sql, order);
	rc = SPI_execute_with_args(sql.data,
							   n,
							   argtypes,
							   args,
							   NULL,
							   statement->read_only,
							   0);
	if (rc < 0)
		elog(ERROR,
			 "unexpected SPI result %s of \"%s\"",
			 SPI_result_code_string(rc),
			 sql.data);
	pfree(sql.data);
}

/* An event that matches has the same key, if the id is a text. */
static bool
has_trace(Jsonb *metadata)
{
	return JB_ROOT_IS_OBJECT(metadata) &&
		   (is_text(&metadata->root, "correlation_id") ||
			is_text(&metadata->root, "causation_id"));
}

static bool
is_text(JsonbContainer *object, const char *key)
{
	JsonbValue *value =
		getKeyJsonValueFromContainer(object, key, strlen(key), NULL);

	return value != NULL && value->type == jbvString;
}

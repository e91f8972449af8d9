/*
 * worker/user_code.c: tells whether applying events runs code of users.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "utils/lsyscache.h"

#include "server/tables.h"
#include "worker/handlers.h"
#include "worker/user_code.h"

/* What a worker writes to when it applies an event. */
static const char *const tables[] = {"event_queue",
									 "conversation_rows",
									 "conversation_changes",
									 "conversation_counts",
									 "messages"};

static bool has_user_code(const char *name, Oid schema);

bool
worker_runs_user_code(const WorkerBatch *batch, int first, int n)
{
	Oid schema;
	Size i;

	if (worker_any_handled(batch->handlers, batch->messages + first, n))
		return true;
	schema = get_namespace_oid("msgstore", false);
	for (i = 0; i < lengthof(tables); i++)
	{
		if (has_user_code(tables[i], schema))
			return true;
	}
	return false;
}

/* Triggers whose function is in the schema are the extension's own. */
static bool
has_user_code(const char *name, Oid schema)
{
	Relation table = tables_open(name, AccessShareLock);
	TriggerDesc *triggers = table->trigdesc;
	bool found = table->rd_rules != NULL;
	int i;

	for (i = 0; triggers != NULL && i < triggers->numtriggers && !found; i++)
		found = !triggers->triggers[i].tgisinternal &&
				get_func_namespace(triggers->triggers[i].tgfoid) != schema;
	table_close(table, NoLock);
	return found;
}

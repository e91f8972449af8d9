/*
 * slots.c: the slots of a cluster that the items of a batch belong to.
 *
 * The router is asked for each batch of several tenants, in one statement that
 * reads its own tables. A copy of the map would save a tenth of a batch's time
 * at most, and would be out of date while a tenant is moved.
 */
#include <stdlib.h>
#include <string.h>

#include "db/slots.h"

static const char slots_sql[] =
	"SELECT msgstore.tenant_slot(t) FROM"
	" pg_catalog.jsonb_array_elements_text($1::jsonb) WITH ORDINALITY"
	" AS u (t, n) ORDER BY n";

QueryOutcome
slots_assign(PoolConnection *connection, BatchItem *items)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "53200"};
	const BatchItem *previous = NULL;
	Text names = {0};
	int row = -1;

	for (const BatchItem *item = items; item != NULL; item = item->next)
	{
		if (previous != NULL && strcmp(previous->tenant, item->tenant) == 0)
			continue;
		text_add_string(&names, previous == NULL ? "[" : ",");
		text_add_json(&names, item->tenant, strlen(item->tenant));
		previous = item;
	}
	text_add_string(&names, "]");
	if (!names.failed)
		outcome = pool_query(connection,
							 "",
							 slots_sql,
							 1,
							 (const char *[]){names.data});
	text_free(&names);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		return outcome;
	previous = NULL;
	for (BatchItem *item = items; item != NULL; item = item->next)
	{
		if (previous == NULL || strcmp(previous->tenant, item->tenant) != 0)
			row++;
		item->slot = row < PQntuples(outcome.result)
						 ? atoi(PQgetvalue(outcome.result, row, 0))
						 : 0;
		previous = item;
	}
	return outcome;
}

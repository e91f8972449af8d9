/*
 * ingest.c: the calls of ingest_batch that store a list of items.
 *
 * One text for each tenant contains the items as they were sent: what a body
 * contains is decided by the database.
 */
#include <stdlib.h>
#include <string.h>

#include "db/ingest.h"

static const char ingest_sql[] =
	"SELECT ordinal, event_id, duplicate, error_code, error_message,"
	" error_detail"
	" FROM msgstore.ingest_batch($1::jsonb)";

/* One tenant's part of a batch. */
typedef struct Share
{
	BatchItem *first;
	BatchItem *end; /* the first of the next tenant, or NULL */
	Text array;
	const char *value; /* its data */
} Share;

static QueryOutcome call_ingest_batch(PoolConnection *connection,
									  BatchItem *items,
									  bool with_tenant);
static QueryOutcome
call_for_tenants(PoolConnection *connection, BatchItem *items, int count);
static void join_json(const BatchItem *items,
					  const BatchItem *end,
					  bool with_tenant,
					  Text *array);

void
ingest_prepare(PoolConnection *connection)
{
	pool_prepare(connection, ingest_sql);
}

QueryOutcome
ingest_items(PoolConnection *connection, BatchItem *items, bool of_slot)
{
	int tenants = 0;

	for (BatchItem *item = items; item != NULL;
		 item = items_end_of_tenant(item))
		tenants++;
	if (of_slot || (tenants > 1 && pool_is_router(connection)))
		return call_ingest_batch(connection, items, true);
	if (tenants > 1)
		return call_for_tenants(connection, items, tenants);
	return call_ingest_batch(connection, items, false);
}

/* The items name their tenants, or all have the same one. */
static QueryOutcome
call_ingest_batch(PoolConnection *connection,
				  BatchItem *items,
				  bool with_tenant)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "53200"};
	Text array = {0};

	join_json(items, NULL, with_tenant, &array);
	if (!array.failed)
		outcome = pool_query(connection,
							 with_tenant ? "" : items->tenant,
							 ingest_sql,
							 1,
							 (const char *[]){array.data});
	if (strcmp(outcome.sqlstate, "00000") == 0)
		items_distribute(items, NULL, outcome.result);
	text_free(&array);
	return outcome;
}

/*
 * One call for each tenant, in one transaction. Items without a tenant sort
 * first, before a tenant is set.
 */
static QueryOutcome
call_for_tenants(PoolConnection *connection, BatchItem *items, int count)
{
	QueryOutcome outcome = {.result = NULL, .sqlstate = "53200"};
	Share *shares = calloc((size_t) count, sizeof(*shares));
	Statement *statements = calloc((size_t) count, 2 * sizeof(*statements));
	PGresult **results = calloc((size_t) count, 2 * sizeof(PGresult *));
	bool ready = shares != NULL && statements != NULL && results != NULL;
	int last = 0;

	for (int i = 0; i < count && ready; i++)
	{
		Share *share = &shares[i];

		share->first = items;
		share->end = items = items_end_of_tenant(items);
		join_json(share->first, share->end, false, &share->array);
		share->value = share->array.data;
		ready = !share->array.failed;
		if (share->first->tenant[0] != '\0')
			statements[last++] = (Statement){.sql = pool_tenant_sql,
											 .count = 1,
											 .values = &share->first->tenant};
		statements[last++] =
			(Statement){.sql = ingest_sql, .count = 1, .values = &share->value};
	}
	if (ready)
		outcome = pool_transaction(connection, statements, last, results);
	last = 0;
	for (int i = 0; i < count && shares != NULL; i++)
	{
		Share *share = &shares[i];

		if (strcmp(outcome.sqlstate, "00000") == 0)
		{
			if (share->first->tenant[0] != '\0')
				PQclear(results[last++]);
			items_distribute(share->first, share->end, results[last]);
			PQclear(results[last++]);
		}
		text_free(&share->array);
	}
	free(results);
	free(statements);
	free(shares);
	return outcome;
}

static void
join_json(const BatchItem *items,
		  const BatchItem *end,
		  bool with_tenant,
		  Text *array)
{
	for (const BatchItem *item = items; item != end; item = item->next)
	{
		text_add(array, item == items ? "[" : ",", 1);
		if (with_tenant)
		{
			/* An item is an object with at least one member. */
			text_add_string(array, "{\"tenant_id\":");
			text_add_json(array, item->tenant, strlen(item->tenant));
			text_add_string(array, ",");
			text_add(array, item->json.data + 1, item->json.length - 1);
		}
		else
			text_add(array, item->json.data, item->json.length);
	}
	text_add(array, "]", 1);
}

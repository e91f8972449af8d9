/*
 * responses/store.c: finds and changes responses in the store that the session
 * uses.
 *
 * Both stores find and change whole responses by tenant and ID, whoever owns
 * them. The caller checks permission, in permission.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "responses/durable.h"
#include "responses/memory.h"
#include "responses/search.h"
#include "responses/status.h"
#include "responses/store.h"
#include "responses/turn.h"
#include "responses/usage.h"
#include "server/errors.h"
#include "server/settings.h"
#include "tenancy/placement.h"
#include "wake/wake.h"

/* How often a session wakes the worker for what can wait. */
#define USAGE_INTERVAL_MS 60000
#define SEARCH_INTERVAL_MS 1000

static Response *find(const ResponseKey *key, bool lock);
static Response *
find_of_tenant(const char *tenant_id, const char *id, bool lock);
static void leave_to_worker(const Response *response, const Usage *before);

Response *
responses_find(const ResponseKey *key)
{
	return find(key, false);
}

const char *
responses_find_tenant(const char *id)
{
	bool several;
	char *tenant_id;

	if (msgstore_tenant_id[0] != '\0')
		return msgstore_tenant_id;
	tenant_id = responses_are_in_memory()
					? responses_memory_tenant(id, &several)
					: responses_durable_tenant(id, &several);
	if (tenant_id != NULL && tenant_id[0] != '\0' && several)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_CONFLICT),
			 errmsg("several tenants have a response with the ID \"%s\"", id),
			 errhint("Set \"msgstore.tenant_id\".")));
	return tenant_id;
}

Response *
responses_change(const ResponseKey *key, ResponsesChange change, void *arg)
{
	bool in_memory = responses_are_in_memory();
	bool followed = false; /* by its turn */

	placement_check_scope();
	for (;;)
	{
		Response *response;
		bool was_active;
		Usage usage;

		CHECK_FOR_INTERRUPTS();
		response = find(key, true);
		if (response == NULL)
			return NULL;
		placement_check(response->tenant_id);
		was_active = responses_are_active(response);
		usage_read(response, &usage);
		if (!change(response, arg))
			return NULL;
		responses_note_end(response);
		if (was_active && !followed)
			turn_follow(response);
		followed = true;
		if (!in_memory)
		{
			responses_durable_update(response);
			leave_to_worker(response, &usage);
		}
		else if (!responses_memory_update(response))
			continue;
		return response;
	}
}

bool
responses_insert(const Response *response)
{
	/* First, because a rollback does not undo an insert into memory. */
	turn_begin(response);
	if (responses_are_in_memory())
		return responses_memory_insert(response);
	if (!responses_durable_insert(response))
		return false;
	leave_to_worker(response, NULL);
	return true;
}

bool
responses_next_queued(const char *tenant_id, ResponseKey *key)
{
	return responses_are_in_memory()
			   ? responses_memory_next_queued(tenant_id, key)
			   : responses_durable_next_queued(tenant_id, key);
}

/* A session without a tenant finds its own response by the first lookup. */
static Response *
find(const ResponseKey *key, bool lock)
{
	const char *tenant_id =
		key->tenant_id != NULL ? key->tenant_id : msgstore_tenant_id;
	Response *response;

	if (strlen(key->id) > RESPONSES_MAX_ID_BYTES)
		return NULL;
	response = find_of_tenant(tenant_id, key->id, lock);
	if (response != NULL || key->tenant_id != NULL || tenant_id[0] != '\0')
		return response;
	tenant_id = responses_find_tenant(key->id);
	return tenant_id != NULL ? find_of_tenant(tenant_id, key->id, lock) : NULL;
}

static Response *
find_of_tenant(const char *tenant_id, const char *id, bool lock)
{
	return responses_are_in_memory()
			   ? responses_memory_find(tenant_id, id, false)
			   : responses_durable_find(tenant_id, id, lock);
}

/*
 * Once awake, the worker comes back as long as there is something to merge or
 * to index. To wake it at each save would be a turn of all its tasks for each.
 */
static void
leave_to_worker(const Response *response, const Usage *before)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentStatementStartTimestamp();
	bool has_usage = usage_add(response, before);
	bool is_searched = search_note(response);

	if ((!has_usage && !is_searched) ||
		!TimestampDifferenceExceeds(last,
									now,
									is_searched ? SEARCH_INTERVAL_MS
												: USAGE_INTERVAL_MS))
		return;
	last = now;
	wake_at_commit();
}

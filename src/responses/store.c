/*
 * responses/store.c: finds and changes responses in the store that the session
 * uses.
 *
 * Both stores find and change whole responses by ID, whoever they belong to.
 * The caller checks permission, in permission.c.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "responses/durable.h"
#include "responses/memory.h"
#include "responses/status.h"
#include "responses/store.h"

Response *
responses_find(const char *id)
{
	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		return NULL;
	return responses_are_in_memory() ? responses_memory_find(id, false)
									 : responses_durable_find(id, false);
}

Response *
responses_change(const char *id, ResponsesChange change, void *arg)
{
	bool in_memory = responses_are_in_memory();
	Response *response;

	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		return NULL;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		response = in_memory ? responses_memory_find(id, false)
							 : responses_durable_find(id, true);
		if (response == NULL || !change(response, arg))
			return NULL;
		responses_note_end(response);
		if (!in_memory)
			responses_durable_update(response);
		else if (!responses_memory_update(response))
			continue;
		return response;
	}
}

bool
responses_insert(const Response *response)
{
	return responses_are_in_memory() ? responses_memory_insert(response)
									 : responses_durable_insert(response);
}

char *
responses_next_queued(const char *tenant_id)
{
	return responses_are_in_memory() ? responses_memory_next_queued(tenant_id)
									 : responses_durable_next_queued(tenant_id);
}

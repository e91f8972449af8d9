/*
 * responses/permission.c: which responses a session may read and change.
 *
 * A response that does not exist, is deleted, or belongs to another tenant or
 * owner is refused in the same words, so that nobody learns what others have
 * stored. The lists ask the same of the rows, in SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "responses/permission.h"
#include "server/errors.h"
#include "server/settings.h"

PG_FUNCTION_INFO_V1(msgstore_owner_allows);

Datum
msgstore_owner_allows(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(responses_owner_allows(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										  PG_GETARG_BOOL(1),
										  text_to_cstring(PG_GETARG_TEXT_PP(2)),
										  PG_GETARG_BOOL(3)));
}

/*
 * A session without an owner may use all responses, and every session those
 * without an owner. An administrator reads and deletes the responses of others,
 * but does not update them.
 */
bool
responses_owner_allows(const char *owner,
					   bool is_admin,
					   const char *stored,
					   bool writing)
{
	return owner[0] == '\0' || stored[0] == '\0' ||
		   strcmp(owner, stored) == 0 || (is_admin && !writing);
}

bool
responses_allow(const char *tenant_id, const char *owner, bool writing)
{
	return (msgstore_tenant_id[0] == '\0' ||
			strcmp(tenant_id, msgstore_tenant_id) == 0) &&
		   responses_owner_allows(msgstore_owner,
								  msgstore_admin,
								  owner,
								  writing);
}

bool
responses_are_deleted(const Response *response)
{
	return response->deleted_at != DT_NOBEGIN;
}

void
responses_refuse_unknown(const char *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_MS_NOT_FOUND),
			 errmsg("response not found"),
			 errdetail("No response with the ID \"%.*s\" is visible to this "
					   "session.",
					   pg_mbcliplen(id, strlen(id), RESPONSES_MAX_ID_BYTES),
					   id)));
}

void
responses_check_claim(const Response *response, const char *worker_id)
{
	if (response->background && strcmp(response->status, "in_progress") == 0 &&
		response->worker_id != NULL &&
		strcmp(response->worker_id, worker_id) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_MS_CONFLICT),
			 errmsg("response \"%s\" is not claimed by \"%s\"",
					response->id,
					worker_id),
			 errdetail("The response is finished or cancelled, or its claim "
					   "expired or belongs to another worker.")));
}

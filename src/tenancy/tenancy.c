/*
 * tenancy/tenancy.c: the tenant and the owner that this session works for.
 *
 * The room has no tables. It promises that a session cannot choose its tenant
 * and its owner without SET on the parameters. Every room above asks it which
 * rows the session may use.
 *
 * SQL reads the settings through these functions and not with
 * current_setting(): the call loads the module, and loading it discards a
 * value that an ordinary user set before.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "server/errors.h"
#include "server/settings.h"
#include "tenancy/tenancy.h"

PG_FUNCTION_INFO_V1(msgstore_tenant_scope);
PG_FUNCTION_INFO_V1(msgstore_owner_scope);
PG_FUNCTION_INFO_V1(msgstore_check_no_tenant);

Datum
msgstore_tenant_scope(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(msgstore_tenant_id));
}

/* An administrator reads for all owners, as a session without an owner. */
Datum
msgstore_owner_scope(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(msgstore_admin ? "" : msgstore_owner));
}

Datum
msgstore_check_no_tenant(PG_FUNCTION_ARGS)
{
	tenancy_refuse_tenant(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

void
tenancy_refuse_tenant(const char *what)
{
	if (msgstore_tenant_id[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_MS_FORBIDDEN),
				 errmsg("permission denied to change %s", what),
				 errdetail("This session is limited to tenant \"%s\".",
						   msgstore_tenant_id),
				 errhint("Make the change in a session without a tenant.")));
}

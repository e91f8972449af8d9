/*
 * tenancy/tenancy.c: whose data this session works on.
 *
 * SQL reads the settings through these functions and not by
 * current_setting(): the call loads the module, so that a value which an
 * ordinary user planted before the module was loaded has been thrown away.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "server/errors.h"
#include "server/settings.h"
#include "tenancy/tenancy.h"

PG_FUNCTION_INFO_V1(msgstore_tenant_scope);
PG_FUNCTION_INFO_V1(msgstore_owner_scope);

Datum
msgstore_tenant_scope(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(msgstore_tenant_id));
}

/* Who reads for all owners is scoped as who has none. */
Datum
msgstore_owner_scope(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_TEXT_P(cstring_to_text(msgstore_admin ? "" : msgstore_owner));
}

void
tenancy_refuse_tenant(const char *what)
{
	if (msgstore_tenant_id[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_MS_FORBIDDEN),
				 errmsg("%s is not a tenant's to change", what),
				 errdetail("This session works for tenant \"%s\".",
						   msgstore_tenant_id),
				 errhint("Ask the operator of the database.")));
}

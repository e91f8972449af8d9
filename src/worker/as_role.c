/*
 * worker/as_role.c: runs code of users with the rights of their roles.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "worker/as_role.h"

/*
 * Switches to the owner of the extension and to a search_path that the caller
 * cannot influence. Returns the GUC nesting level to restore.
 */
int
role_become_owner(Oid *saved_user, int *saved_context)
{
	Oid table =
		get_relname_relid("handlers", get_namespace_oid("msgstore", false));
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	int nest_level = NewGUCNestLevel();

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", table);
	GetUserIdAndSecContext(saved_user, saved_context);
	SetUserIdAndSecContext(((Form_pg_class) GETSTRUCT(tuple))->relowner,
						   *saved_context | SECURITY_LOCAL_USERID_CHANGE);
	ReleaseSysCache(tuple);
	role_set_local("search_path", "pg_catalog, pg_temp");
	return nest_level;
}

/*
 * SET CONSTRAINTS ALL IMMEDIATE. Triggers that are pending now do not belong to
 * a handler and would otherwise run at commit, so they run with the rights that
 * they would have then.
 */
void
role_check_constraints(void)
{
	ConstraintsSetStmt *statement = makeNode(ConstraintsSetStmt);
	Oid saved_user;
	int saved_context;

	statement->deferred = false;
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(GetOuterUserId(), 0);
	AfterTriggerSetState(statement);
	SetUserIdAndSecContext(saved_user, saved_context);
}

/* Raises 42501 if the role may not execute the function. */
void
role_check_right(Oid function, Oid role, const char *name)
{
	AclResult result;

#if PG_VERSION_NUM >= 160000
	result = object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
#else
	result = pg_proc_aclcheck(function, role, ACL_EXECUTE);
#endif
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, name);
}

void
role_set_local(const char *name, const char *value)
{
	(void) set_config_option(name,
							 value,
							 PGC_SUSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
}

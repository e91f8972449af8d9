/*
 * inbox/tenants.c: items that name their tenant.
 *
 * A router or an importer stores events of many tenants by one call of a
 * session without a tenant. Each tenant's items are stored as by a session of
 * the tenant. The tenants are checked first: a caller that gets MS421 sends the
 * batch elsewhere, so none of it may be stored here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

#include "inbox/tenants.h"
#include "server/errors.h"
#include "server/settings.h"
#include "tenancy/placement.h"

#define MAX_TENANT_BYTES 255

static bool any_named(const InboxItem *items, int n);
static void check_own(const InboxItem *items, int n);
static void check_name(InboxItem *item);
static bool may_set_tenant(void);
static int compare_tenants(const void *a, const void *b);
static int compare_ordinals(const void *a, const void *b);
static void
store_as(const char *tenant, InboxItem *items, int n, InboxStore store);

void
inbox_store_by_tenant(InboxItem *items, int n, InboxStore store)
{
	int first;
	int next;

	if (!any_named(items, n))
	{
		check_own(items, n);
		store(items, n);
		return;
	}
	for (next = 0; next < n; next++)
	{
		check_name(&items[next]);
		if (strcmp(items[next].tenant, msgstore_tenant_id) != 0)
			placement_check(items[next].tenant);
		else
			check_own(&items[next], 1);
	}
	qsort(items, n, sizeof(InboxItem), compare_tenants);
	for (first = 0; first < n; first = next)
	{
		for (next = first + 1; next < n; next++)
		{
			if (strcmp(items[first].tenant, items[next].tenant) != 0)
				break;
		}
		store_as(items[first].tenant, &items[first], next - first, store);
	}
	qsort(items, n, sizeof(InboxItem), compare_ordinals);
}

static bool
any_named(const InboxItem *items, int n)
{
	int i;

	for (i = 0; i < n; i++)
	{
		if (items[i].tenant != NULL)
			return true;
	}
	return false;
}

/*
 * In a session without a tenant, an item that was refused may be of any: for
 * example if the name of its tenant is invalid. It needs no place here.
 */
static void
check_own(const InboxItem *items, int n)
{
	int i;

	if (msgstore_tenant_id[0] != '\0')
	{
		placement_check_own();
		return;
	}
	for (i = 0; i < n; i++)
	{
		if (items[i].refusal != NULL)
			continue;
		placement_check_own();
		return;
	}
}

/* A refused item counts as the session's own. */
static void
check_name(InboxItem *item)
{
	const char *given = item->tenant;

	item->tenant = pstrdup(msgstore_tenant_id);
	if (given == NULL || strcmp(given, msgstore_tenant_id) == 0)
		return;
	if (strlen(given) > MAX_TENANT_BYTES)
		inbox_refuse(item,
					 ERRCODE_MS_BAD_REQUEST,
					 "A tenant name must have at most 255 bytes.",
					 NULL,
					 "invalid tenant name in field \"tenant_id\"");
	else if (msgstore_tenant_id[0] != '\0')
		inbox_refuse(item,
					 ERRCODE_MS_FORBIDDEN,
					 psprintf("This session is limited to tenant \"%s\".",
							  msgstore_tenant_id),
					 NULL,
					 "permission denied for tenant \"%s\"",
					 given);
	else if (!may_set_tenant())
		inbox_refuse(item,
					 ERRCODE_MS_FORBIDDEN,
					 "Only roles with SET on parameter msgstore.tenant_id can "
					 "name the tenant of an item.",
					 NULL,
					 "permission denied for tenant \"%s\"",
					 given);
	else
		item->tenant = given;
}

/* Of the caller, not of the owner, whose rights the function has. */
static bool
may_set_tenant(void)
{
	return pg_parameter_aclcheck("msgstore.tenant_id",
								 GetOuterUserId(),
								 ACL_SET) == ACLCHECK_OK;
}

static int
compare_tenants(const void *a, const void *b)
{
	int order = strcmp(((const InboxItem *) a)->tenant,
					   ((const InboxItem *) b)->tenant);

	return order != 0 ? order : compare_ordinals(a, b);
}

static int
compare_ordinals(const void *a, const void *b)
{
	return ((const InboxItem *) a)->ordinal - ((const InboxItem *) b)->ordinal;
}

static void
store_as(const char *tenant, InboxItem *items, int n, InboxStore store)
{
	int nest_level = NewGUCNestLevel();

	(void) set_config_option("msgstore.tenant_id",
							 tenant,
							 PGC_SUSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
	store(items, n);
	AtEOXact_GUC(true, nest_level);
}

/*
 * tenancy/routed.c: calls that the router of a cluster makes for its clients.
 *
 * The router connects with one role. What a call is for, and who has called the
 * router, is set for each call, which is a transaction.
 *
 * An error about a field has its name as the column, and a code as the
 * constraint. PL/Proxy, by which the router calls this database, passes on an
 * error's context, but not these. So they are added to the context.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "server/settings.h"

PG_FUNCTION_INFO_V1(msgstore_enter);
PG_FUNCTION_INFO_V1(msgstore_actor);

static void set_locally(const char *name, text *value, GucContext context);
static void name_fields(void);
static void add_fields(void *arg);

/*
 * Whoever may choose the tenant and the owner may say for whom: the actor is
 * set with the rights of the server, but after them.
 */
Datum
msgstore_enter(PG_FUNCTION_ARGS)
{
	GucContext context = superuser() ? PGC_SUSET : PGC_USERSET;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		elog(ERROR, "tenant, owner and actor of a call must not be null");
	set_locally("msgstore.tenant_id", PG_GETARG_TEXT_PP(0), context);
	set_locally("msgstore.owner", PG_GETARG_TEXT_PP(1), context);
	set_locally("msgstore.actor", PG_GETARG_TEXT_PP(2), PGC_SUSET);
	name_fields();
	PG_RETURN_BOOL(true);
}

Datum
msgstore_actor(PG_FUNCTION_ARGS)
{
	const char *actor = msgstore_actor_name;

	(void) fcinfo;
	if (actor[0] == '\0')
		actor = GetUserNameFromId(GetSessionUserId(), false);
	PG_RETURN_TEXT_P(cstring_to_text(actor));
}

/* As set_config() with is_local. */
static void
set_locally(const char *name, text *value, GucContext context)
{
	(void) set_config_option(name,
							 text_to_cstring(value),
							 context,
							 PGC_S_SESSION,
							 GUC_ACTION_LOCAL,
							 true,
							 0,
							 false);
}

/*
 * For the rest of the statement: the server takes the callback off the stack at
 * its end.
 */
static void
name_fields(void)
{
	static ErrorContextCallback callback = {.callback = add_fields};
	ErrorContextCallback *other = error_context_stack;

	while (other != NULL && other != &callback)
		other = other->previous;
	if (other == NULL)
	{
		callback.previous = error_context_stack;
		error_context_stack = &callback;
	}
}

static void
add_fields(void *arg)
{
	/* An error is copied to any context but its own. */
	MemoryContext own = MemoryContextSwitchTo(MessageContext);
	ErrorData *error = CopyErrorData();

	(void) arg;
	MemoryContextSwitchTo(own);
	if (error->elevel >= ERROR &&
		(error->column_name != NULL || error->constraint_name != NULL))
		errcontext("msgstore field \"%s\" code \"%s\"",
				   error->column_name != NULL ? error->column_name : "",
				   error->constraint_name != NULL ? error->constraint_name
												  : "");
	FreeErrorData(error);
}

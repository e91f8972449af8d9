/*
 * tenancy/fields.c: the fields of errors, for the router of a cluster.
 *
 * An error about a field has its name as the column, and a code as the
 * constraint. PL/Proxy, by which the router calls this database, passes on an
 * error's context, but not these. So they are added to the context.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(msgstore_name_fields);

static void add_fields(void *arg);

/*
 * For the rest of the statement: the server takes the callback off the stack at
 * its end.
 */
Datum
msgstore_name_fields(PG_FUNCTION_ARGS)
{
	static ErrorContextCallback callback = {.callback = add_fields};
	ErrorContextCallback *other = error_context_stack;

	(void) fcinfo;
	while (other != NULL && other != &callback)
		other = other->previous;
	if (other == NULL)
	{
		callback.previous = error_context_stack;
		error_context_stack = &callback;
	}
	PG_RETURN_BOOL(true);
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

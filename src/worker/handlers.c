/*
 * worker/handlers.c: user-defined functions called for inbound messages.
 *
 * A handler runs in the transaction that adds its message, so that either all
 * effects of a message commit or none. It runs as the role that registered it,
 * with that session's search_path, as a security-restricted operation: it
 * cannot regain the worker's rights, neither by SET ROLE nor by leaving
 * something behind that runs later (a temporary table, a deferred trigger).
 * Deferrable constraints are checked immediately for the same reason.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "channels/channels.h"
#include "server/errors.h"
#include "server/statement.h"
#include "tenancy/tenancy.h"
#include "worker/as_role.h"
#include "worker/handler_name.h"
#include "worker/handlers.h"
#include "worker/recorder.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

typedef struct Handler
{
	char *channel;
	char *name;
	Oid role;
	char *search_path;
	FmgrInfo function; /* fn_oid is InvalidOid until it is looked up */
} Handler;

struct WorkerHandlers
{
	int n;
	/* The message whose handler runs or raised an error; NULL: none. */
	const ConversationMessage *running;
	MemoryContext context;
	Handler list[FLEXIBLE_ARRAY_MEMBER];
};

static Statement find_handlers = {
	.sql = "SELECT channel, handler, registered_by::pg_catalog.oid, search_path"
		   " FROM msgstore.handlers ORDER BY channel, created_at, handler"};

static Statement find_messages = {
	.sql = "SELECT n.ordinal, m FROM unnest($1, $2) WITH ORDINALITY"
		   " AS n (tenant_id, id, ordinal) JOIN msgstore.messages m"
		   " ON m.tenant_id = n.tenant_id AND m.id = n.id",
	.nargs = 2,
	.argtypes = {TEXTARRAYOID, UUIDARRAYOID},
	.table = "messages"};

static Statement add_handler = {
	.sql = "INSERT INTO msgstore.handlers AS h"
		   " (channel, handler, registered_by, search_path)"
		   " VALUES ($1, $2, $3, $4) ON CONFLICT (channel, handler) DO UPDATE"
		   " SET registered_by = excluded.registered_by,"
		   " search_path = excluded.search_path"
		   " WHERE pg_catalog.pg_has_role($3, h.registered_by, 'USAGE')",
	.nargs = 4,
	.argtypes = {TEXTOID, TEXTOID, OIDOID, TEXTOID}};

static Statement find_registrar = {
	.sql = "SELECT registered_by::pg_catalog.oid, handler"
		   " FROM msgstore.handlers"
		   " WHERE channel = $1 AND handler = ANY ($2)",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTARRAYOID}};

static Statement remove_handler = {
	.sql = "DELETE FROM msgstore.handlers"
		   " WHERE channel = $1 AND handler = ANY ($2)",
	.nargs = 2,
	.argtypes = {TEXTOID, TEXTARRAYOID}};

static Handler *
next_handler(WorkerHandlers *handlers, const text *channel, Handler *last);
static Datum *fetch_messages(const ConversationMessage *messages, int n);
static void call(WorkerHandlers *handlers,
				 Handler *handler,
				 const ConversationMessage *message,
				 Datum row);
static void look_up(WorkerHandlers *handlers, Handler *handler);
static char *check_function(Oid function);

PG_FUNCTION_INFO_V1(msgstore_add_handler);
PG_FUNCTION_INFO_V1(msgstore_remove_handler);

/*
 * Not SECURITY DEFINER: the handler will run with the rights and search_path of
 * the caller, which must be visible here.
 */
Datum
msgstore_add_handler(PG_FUNCTION_ARGS)
{
	text *channel = PG_GETARG_TEXT_PP(0);
	char *name = check_function(PG_GETARG_OID(1));
	Datum values[4];
	char *search_path = pstrdup(namespace_search_path);
	Oid saved_user;
	int saved_context;
	int nest_level;

	(void) channels_get(VARDATA_ANY(channel), VARSIZE_ANY_EXHDR(channel));
	tenancy_refuse_tenant("handlers");
	nest_level = role_become_owner(&saved_user, &saved_context);
	SPI_connect();
	values[0] = PointerGetDatum(channel);
	values[1] = CStringGetTextDatum(name);
	values[2] = ObjectIdGetDatum(saved_user);
	values[3] = CStringGetTextDatum(search_path);
	statement_execute(&add_handler, values, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_FORBIDDEN),
				 errmsg("handler \"%s\" was registered by another role", name),
				 errhint("Remove the handler as that role first.")));
	SPI_finish();
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(true, nest_level);
	PG_RETURN_VOID();
}

Datum
msgstore_remove_handler(PG_FUNCTION_ARGS)
{
	Datum names = handler_names(PG_GETARG_TEXT_PP(1));
	Datum values[2];
	Oid saved_user;
	int saved_context;
	int nest_level;
	bool isnull;
	bool removed;
	uint64 row;

	tenancy_refuse_tenant("handlers");
	nest_level = role_become_owner(&saved_user, &saved_context);
	SPI_connect();
	values[0] = PG_GETARG_DATUM(0);
	values[1] = names;
	statement_execute(&find_registrar, values, NULL);
	for (row = 0; row < SPI_processed; row++)
	{
		Oid registrar = DatumGetObjectId(statement_value(row, 1, &isnull));

		if (!has_privs_of_role(saved_user, registrar))
			ereport(
				ERROR,
				(errcode(ERRCODE_MS_FORBIDDEN),
				 errmsg("handler \"%s\" was registered by another role",
						TextDatumGetCString(statement_value(row, 2, &isnull))),
				 errhint("Remove the handler as that role.")));
	}
	statement_execute(&remove_handler, values, NULL);
	removed = SPI_processed > 0;
	SPI_finish();
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(true, nest_level);
	PG_RETURN_BOOL(removed);
}

/*
 * Checks that the function can be a handler and that the caller may execute it.
 * Returns its name with schema and argument types.
 */
static char *
check_function(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid messages =
		get_relname_relid("messages", get_namespace_oid("msgstore", false));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION || form->proretset ||
		form->prorettype != VOIDOID || form->pronargs < 1 ||
		form->pronargs > 2 ||
		form->proargtypes.values[0] != get_rel_type_id(messages) ||
		(form->pronargs == 2 && form->proargtypes.values[1] != JSONBOID))
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("function \"%s\" cannot be a handler",
					NameStr(form->proname)),
			 errdetail(
				 "A handler must return void and take an argument of type msgstore.messages and optionally one of type jsonb, for the payload.")));
	role_check_right(function, GetUserId(), NameStr(form->proname));
	ReleaseSysCache(tuple);
	return handler_name(function);
}

WorkerHandlers *
worker_find_handlers(void)
{
	WorkerHandlers *handlers;
	bool isnull;
	uint64 row;

	statement_execute(&find_handlers, NULL, NULL);
	if (SPI_processed == 0)
		return NULL;
	handlers = palloc0(offsetof(WorkerHandlers, list) +
					   sizeof(Handler) * SPI_processed);
	handlers->context = CurrentMemoryContext;
	handlers->n = (int) SPI_processed;
	for (row = 0; row < SPI_processed; row++)
	{
		Handler *handler = &handlers->list[row];

		handler->channel =
			TextDatumGetCString(statement_value(row, 1, &isnull));
		handler->name = TextDatumGetCString(statement_value(row, 2, &isnull));
		handler->role = DatumGetObjectId(statement_value(row, 3, &isnull));
		handler->search_path =
			TextDatumGetCString(statement_value(row, 4, &isnull));
	}
	return handlers;
}

const ConversationMessage *
worker_left_handler(WorkerHandlers *handlers)
{
	const ConversationMessage *message;
	int i;

	if (handlers == NULL || handlers->running == NULL)
		return NULL;
	message = handlers->running;
	handlers->running = NULL;
	/* The state of a function that raised an error is not reused. */
	for (i = 0; i < handlers->n; i++)
		handlers->list[i].function.fn_oid = InvalidOid;
	return message;
}

/*
 * In a handler, the locks of the transaction that applies the batch are its
 * own, so its events could be taken a second time.
 */
void
worker_refuse_in_handler(const char *function)
{
	if (InSecurityRestrictedOperation())
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_FORBIDDEN),
			 errmsg("function \"msgstore.%s\" cannot be called from a handler",
					function)));
}

void
worker_call_handlers(WorkerHandlers *handlers,
					 const ConversationMessage *messages,
					 int n)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	Datum *rows;
	int i;

	/* A deferred trigger of a user fails here, where its event is known. */
	role_check_constraints();
	if (!worker_any_handled(handlers, messages, n))
		return;
	rows = fetch_messages(messages, n);
	context = AllocSetContextCreate(caller,
									"msgstore handler",
									ALLOCSET_DEFAULT_SIZES);
	for (i = 0; i < n; i++)
	{
		Handler *handler = NULL;

		while (
			(handler = next_handler(handlers, messages[i].channel, handler)) !=
			NULL)
		{
			CHECK_FOR_INTERRUPTS();
			recorder_enter_handler(i);
			MemoryContextSwitchTo(context);
			/* Before each call: a handler may have deferred them again. */
			role_check_constraints();
			call(handlers, handler, &messages[i], rows[i]);
			MemoryContextReset(context);
		}
	}
	recorder_leave_handlers();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

bool
worker_any_handled(WorkerHandlers *handlers,
				   const ConversationMessage *messages,
				   int n)
{
	int i;

	for (i = 0; handlers != NULL && i < n; i++)
	{
		if (next_handler(handlers, messages[i].channel, NULL) != NULL)
			return true;
	}
	return false;
}

/* Returns the channel's first handler, or the one after last, or NULL. */
static Handler *
next_handler(WorkerHandlers *handlers, const text *channel, Handler *last)
{
	int i = last == NULL ? 0 : (int) (last - handlers->list) + 1;
	Size len = VARSIZE_ANY_EXHDR(channel);

	for (; i < handlers->n; i++)
	{
		Handler *handler = &handlers->list[i];

		if (strlen(handler->channel) == len &&
			memcmp(handler->channel, VARDATA_ANY(channel), len) == 0)
			return handler;
	}
	return NULL;
}

/* Returns the rows of the messages, as stored in the table. */
static Datum *
fetch_messages(const ConversationMessage *messages, int n)
{
	Datum *rows = palloc0(sizeof(Datum) * n);
	Datum *tenants = palloc(sizeof(Datum) * n);
	Datum *ids = palloc(sizeof(Datum) * n);
	Datum values[2];
	bool isnull;
	uint64 row;
	int i;

	for (i = 0; i < n; i++)
	{
		tenants[i] = PointerGetDatum(messages[i].tenant_id);
		ids[i] = UUIDPGetDatum(&messages[i].id);
	}
	values[0] = statement_array(TEXTOID, tenants, NULL, n);
	values[1] = statement_array(UUIDOID, ids, NULL, n);
	statement_execute(&find_messages, values, NULL);
	if (SPI_processed != (uint64) n)
		elog(ERROR, "could not find all of the added messages");
	for (row = 0; row < SPI_processed; row++)
	{
		i = (int) DatumGetInt64(statement_value(row, 1, &isnull)) - 1;
		rows[i] = statement_value(row, 2, &isnull);
	}
	return rows;
}

/* Calls one handler. Settings that it changes are reset after the call. */
static void
call(WorkerHandlers *handlers,
	 Handler *handler,
	 const ConversationMessage *message,
	 Datum row)
{
	LOCAL_FCINFO(fcinfo, 2);
	int nest_level = NewGUCNestLevel();
	Oid saved_user;
	int saved_context;

	handlers->running = message;
	role_set_local("msgstore.tenant_id", text_to_cstring(message->tenant_id));
	role_set_local("search_path", handler->search_path);
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(handler->role,
						   saved_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!OidIsValid(handler->function.fn_oid))
		look_up(handlers, handler);
	InitFunctionCallInfoData(*fcinfo,
							 &handler->function,
							 handler->function.fn_nargs,
							 InvalidOid,
							 NULL,
							 NULL);
	fcinfo->args[0].value = row;
	fcinfo->args[0].isnull = false;
	/* Only for handlers that have a second argument. */
	fcinfo->args[1].value = JsonbPGetDatum(message->payload);
	fcinfo->args[1].isnull = false;
	(void) FunctionCallInvoke(fcinfo);
	PopActiveSnapshot();
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(false, nest_level);
	handlers->running = NULL;
}

static void
look_up(WorkerHandlers *handlers, Handler *handler)
{
	Oid function;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(handler->role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role that registered handler \"%s\" does not exist",
						handler->name),
				 errhint("Register the handler again.")));
	function = DatumGetObjectId(
		DirectFunctionCall1(regprocedurein, CStringGetDatum(handler->name)));
	role_check_right(function, handler->role, handler->name);
	fmgr_info_cxt(function, &handler->function, handlers->context);
}

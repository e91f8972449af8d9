/*
 * worker/projections.c: functions of users that the worker calls with the
 * events of their categories.
 *
 * A projection is a subscription with a function. The worker that runs the
 * periodic tasks takes short turns between its batches of messages; the rules
 * of a turn are in sql/50_streams/67_projection_turn.sql. Appends set the
 * worker's latch only if they have events for a projection: it tells
 * streams/watch.c which categories these are, and looks once more after it has
 * told so.
 *
 * The function runs as the role that created the projection, restricted like a
 * handler, and no longer than msgstore.projection_timeout: messages wait
 * meanwhile.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"

#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "streams/streams.h"
#include "streams/watch.h"
#include "tenancy/placement.h"
#include "worker/as_role.h"
#include "worker/handler_name.h"
#include "worker/projections.h"

static Statement take_turn = {.sql = "SELECT pause, watched, unsettled"
									 " FROM msgstore._projection_turn($1)",
							  .nargs = 1,
							  .argtypes = {BOOLOID}};

static Statement create_projection = {
	.sql = "SELECT msgstore._create_projection($1, $2, $3, $4, $5, $6, $7, $8)",
	.nargs = 8,
	.argtypes = {TEXTOID,
				 TEXTOID,
				 TEXTOID,
				 TEXTOID,
				 INT8OID,
				 INT4OID,
				 OIDOID,
				 TEXTOID}};

static uint64 watched_buckets(Datum categories);
static char *check_function(Oid function, bool is_reset);
static Oid event_type(void);
static void call_function(const char *name, Oid role, ArrayType *events);
static bool takes_array(Oid function);
static void call_with_limit(FmgrInfo *function, Datum argument, bool isnull);

PG_FUNCTION_INFO_V1(msgstore_create_projection);
PG_FUNCTION_INFO_V1(msgstore_call_projection);

/*
 * Not SECURITY DEFINER: the function will run with the rights and search_path
 * of the caller, which must be visible here.
 */
Datum
msgstore_create_projection(PG_FUNCTION_ARGS)
{
	char nulls[9] = "        ";
	char *search_path = pstrdup(namespace_search_path);
	Datum values[8];
	Oid saved_user;
	int saved_context;
	int nest_level;
	int i;

	placement_check_own();
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("argument \"function\" is null")));
	for (i = 0; i < 6; i++)
	{
		values[i] = PG_GETARG_DATUM(i);
		if (PG_ARGISNULL(i))
			nulls[i] = 'n';
	}
	values[2] = CStringGetTextDatum(check_function(PG_GETARG_OID(2), false));
	if (!PG_ARGISNULL(3))
		values[3] = CStringGetTextDatum(check_function(PG_GETARG_OID(3), true));
	nest_level = role_become_owner(&saved_user, &saved_context);
	values[6] = ObjectIdGetDatum(saved_user);
	values[7] = CStringGetTextDatum(search_path);
	SPI_connect();
	statement_execute(&create_projection, values, nulls);
	SPI_finish();
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(true, nest_level);
	PG_RETURN_VOID();
}

/* Without events the function is one that resets the projection. */
Datum
msgstore_call_projection(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid role = PG_GETARG_OID(1);
	ArrayType *events = PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3);
	int nest_level = NewGUCNestLevel();
	Oid saved_user;
	int saved_context;

	role_check_constraints();
	role_set_local("search_path", text_to_cstring(PG_GETARG_TEXT_PP(2)));
	/* A lock that somebody holds for long must not hold up messages. */
	role_set_local("lock_timeout", "200ms");
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(role,
						   saved_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	PushActiveSnapshot(GetTransactionSnapshot());
	call_function(name, role, events);
	PopActiveSnapshot();
	/* A deferred trigger of a user fails here, where its event is known. */
	role_check_constraints();
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(false, nest_level);
	PG_RETURN_VOID();
}

long
projections_turn(void)
{
	static bool starting = true;
	Datum values[1];
	Datum categories;
	bool isnull;
	int64 pause;
	uint64 buckets;

	streams_take_watched();
	values[0] = BoolGetDatum(starting);
	statement_execute(&take_turn, values, NULL);
	pause = DatumGetInt64(statement_value(0, 1, &isnull));
	categories = statement_value(0, 2, &isnull);
	buckets = isnull ? 0 : watched_buckets(categories);
	if (DatumGetBool(statement_value(0, 3, &isnull)))
		buckets |= UINT64CONST(1) << streams_bucket_of(NULL);
	starting = false;
	/* An event may have been committed before the worker watched for it. */
	return streams_watch(buckets) ? 0 : (long) pause;
}

/* A null category stands for all of them. */
static uint64
watched_buckets(Datum categories)
{
	uint64 buckets = 0;
	Datum *elements;
	bool *nulls;
	int n;
	int i;

	deconstruct_array(DatumGetArrayTypeP(categories),
					  TEXTOID,
					  -1,
					  false,
					  TYPALIGN_INT,
					  &elements,
					  &nulls,
					  &n);
	for (i = 0; i < n; i++)
		buckets |= UINT64CONST(1) << streams_bucket_of(
					   nulls[i] ? NULL : DatumGetTextPP(elements[i]));
	return buckets;
}

/*
 * Checks that the caller may execute the function and that it has the right
 * arguments and result. Returns its name with schema and argument types.
 */
static char *
check_function(Oid function, bool is_reset)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid event = event_type();
	Form_pg_proc form;
	bool fits;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	fits = form->prokind == PROKIND_FUNCTION && !form->proretset &&
		   form->prorettype == VOIDOID && form->pronargs == (is_reset ? 0 : 1);
	if (fits && !is_reset)
		fits = form->proargtypes.values[0] == event ||
			   form->proargtypes.values[0] == get_array_type(event);
	if (!fits)
		ereport(
			ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("function \"%s\" cannot %s a projection",
					NameStr(form->proname),
					is_reset ? "reset" : "be"),
			 is_reset
				 ? errdetail("It must return void and have no arguments.")
				 : errdetail(
					   "It must return void and have one argument, of type msgstore.stream_event or msgstore.stream_event[].")));
	role_check_right(function, GetUserId(), NameStr(form->proname));
	ReleaseSysCache(tuple);
	return handler_name(function);
}

static Oid
event_type(void)
{
	return GetSysCacheOid2(
		TYPENAMENSP,
		Anum_pg_type_oid,
		CStringGetDatum("stream_event"),
		ObjectIdGetDatum(get_namespace_oid("msgstore", false)));
}

/* Calls it with all events at once, or with one after the other. */
static void
call_function(const char *name, Oid role, ArrayType *events)
{
	Oid oid;
	FmgrInfo function;
	Datum *elements;
	int n;
	int i;

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg(
				 "role that created projection function \"%s\" does not exist",
				 name),
			 errhint("Create the projection again.")));
	oid = DatumGetObjectId(
		DirectFunctionCall1(regprocedurein, CStringGetDatum(name)));
	role_check_right(oid, role, name);
	fmgr_info(oid, &function);
	if (events == NULL)
		call_with_limit(&function, (Datum) 0, true);
	else if (takes_array(oid))
		call_with_limit(&function, PointerGetDatum(events), false);
	else
	{
		deconstruct_array(events,
						  ARR_ELEMTYPE(events),
						  -1,
						  false,
						  TYPALIGN_DOUBLE,
						  &elements,
						  NULL,
						  &n);
		for (i = 0; i < n; i++)
			call_with_limit(&function, elements[i], false);
	}
}

static bool
takes_array(Oid function)
{
	Oid *types;
	int n;

	(void) get_func_signature(function, &types, &n);
	return n == 1 && types[0] == get_array_type(event_type());
}

/*
 * In a session of a user, its own statement_timeout applies. A worker has none
 * that could be running.
 */
static void
call_with_limit(FmgrInfo *function, Datum argument, bool isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	bool limits =
		MyBackendType == B_BG_WORKER && msgstore_projection_timeout > 0;

	CHECK_FOR_INTERRUPTS();
	InitFunctionCallInfoData(*fcinfo,
							 function,
							 function->fn_nargs,
							 InvalidOid,
							 NULL,
							 NULL);
	fcinfo->args[0].value = argument;
	fcinfo->args[0].isnull = isnull;
	if (limits)
		enable_timeout_after(STATEMENT_TIMEOUT, msgstore_projection_timeout);
	PG_TRY();
	{
		(void) FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		if (limits)
			disable_timeout(STATEMENT_TIMEOUT, false);
	}
	PG_END_TRY();
}

/*
 * responses/responses.c: save, find, change and delete responses; who may.
 *
 * A response that is unknown, deleted, or another's is refused with the same
 * words: nobody learns what others have stored. The rule is asked here, of
 * what either store found, and the lists ask it in SQL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "responses/responses.h"
#include "server/errors.h"
#include "server/settings.h"
#include "wake/wake.h"

/* A change as it was asked for. */
typedef struct Patch
{
	Jsonb *fields;
	char *worker_id; /* who must hold the claim, or NULL */
} Patch;

static Datum save(Jsonb *document, Jsonb *request);
static bool insert(const Response *response);
static Datum get_document(FunctionCallInfo fcinfo, bool deleted_too);
static bool apply_patch(Response *response, void *change);
static bool mark_deleted(Response *response, void *arg);

PG_FUNCTION_INFO_V1(msgstore_response_scope);
PG_FUNCTION_INFO_V1(msgstore_owner_allows);
PG_FUNCTION_INFO_V1(msgstore_check_response_move);
PG_FUNCTION_INFO_V1(msgstore_response_document);
PG_FUNCTION_INFO_V1(msgstore_response_place);
PG_FUNCTION_INFO_V1(msgstore_save_response);
PG_FUNCTION_INFO_V1(msgstore_save_background);
PG_FUNCTION_INFO_V1(msgstore_get_response);
PG_FUNCTION_INFO_V1(msgstore_get_response_for_chain);
PG_FUNCTION_INFO_V1(msgstore_durable_document);
PG_FUNCTION_INFO_V1(msgstore_update_response);
PG_FUNCTION_INFO_V1(msgstore_delete_response);

/* What the lists ask: tenant, owner (null: no rule), and which store. */
Datum
msgstore_response_scope(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[3];
	bool nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type is not a row type");
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = CStringGetTextDatum(msgstore_owner);
	nulls[1] = msgstore_owner[0] == '\0' || msgstore_admin;
	values[2] = BoolGetDatum(responses_are_in_memory());
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
msgstore_owner_allows(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(responses_owner_allows(text_to_cstring(PG_GETARG_TEXT_PP(0)),
										  PG_GETARG_BOOL(1),
										  text_to_cstring(PG_GETARG_TEXT_PP(2)),
										  PG_GETARG_BOOL(3)));
}

Datum
msgstore_check_response_move(PG_FUNCTION_ARGS)
{
	responses_check_move(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/* For the lists: the document of a response that they found; null if gone. */
Datum
msgstore_response_document(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Response *response = responses_find(id);

	if (response == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(responses_make_document(response));
}

/* Where a response stands in a list: when it was made; null if not seen. */
Datum
msgstore_response_place(PG_FUNCTION_ARGS)
{
	Response *response = responses_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (response == NULL ||
		!responses_allow(response->tenant_id, response->owner, false))
		PG_RETURN_NULL();
	PG_RETURN_INT64(response->created_at);
}

Datum
msgstore_save_response(PG_FUNCTION_ARGS)
{
	Datum id = save(PG_GETARG_JSONB_P(0), NULL);

	if (id == (Datum) 0)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(id);
}

Datum
msgstore_save_background(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(save(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1)));
}

Datum
msgstore_get_response(PG_FUNCTION_ARGS)
{
	return get_document(fcinfo, false);
}

Datum
msgstore_get_response_for_chain(PG_FUNCTION_ARGS)
{
	return get_document(fcinfo, true);
}

/* What get_document asks the table for, with the rights that takes. */
Datum
msgstore_durable_document(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool deleted_too = PG_GETARG_BOOL(1);
	Response *response = responses_durable_find(id, false);

	if (response == NULL || (responses_are_deleted(response) && !deleted_too) ||
		!responses_allow(response->tenant_id, response->owner, false))
		responses_refuse_unknown(id);
	PG_RETURN_JSONB_P(responses_make_document(response));
}

Datum
msgstore_update_response(PG_FUNCTION_ARGS)
{
	Response *response;
	Patch patch = {NULL, NULL};
	char *id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	patch.fields = PG_GETARG_JSONB_P(1);
	if (!PG_ARGISNULL(2))
		patch.worker_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	response = responses_change(id, apply_patch, &patch);
	if (response == NULL)
		responses_refuse_unknown(id);
	PG_RETURN_JSONB_P(responses_make_document(response));
}

Datum
msgstore_delete_response(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (responses_change(id, mark_deleted, NULL) == NULL)
		responses_refuse_unknown(id);
	PG_RETURN_BOOL(true);
}

bool
responses_are_in_memory(void)
{
	if (msgstore_response_store != RESPONSES_MEMORY)
		return false;
	if (!responses_memory_is_there())
		ereport(ERROR,
				(errcode(ERRCODE_MS_UNAVAILABLE),
				 errmsg("in-memory response store is not available"),
				 errdetail("It is in shared memory, which the library gets "
						   "only when it is preloaded."),
				 errhint("Add msgstore to \"shared_preload_libraries\" and "
						 "restart the server, or set "
						 "\"msgstore.response_store\" to \"durable\".")));
	return true;
}

/*
 * Nobody's responses, and a session that is nobody's, are open. Else one's own
 * count, and an administrator reads and deletes, but does not write.
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
			 errdetail("There is no response \"%.*s\" that this session may "
					   "see.",
					   pg_mbcliplen(id, strlen(id), RESPONSES_MAX_ID_BYTES),
					   id)));
}

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
		if (!in_memory)
			responses_durable_update(response);
		else if (!responses_memory_update(response))
			continue;
		return response;
	}
}

/* The id as a text, or 0 if the response asks not to be stored. */
static Datum
save(Jsonb *document, Jsonb *request)
{
	Response *response = responses_read_document(document);

	if (request != NULL)
	{
		if (!response->background)
			responses_refuse_field("background",
								   "is not true",
								   "A worker makes background responses.");
		if (strcmp(response->status, "queued") != 0)
			responses_refuse_field("status",
								   "is not \"queued\"",
								   "A worker takes what is queued.");
		responses_check_size(request);
		response->background_request = request;
	}
	if (responses_says(response, "store", false))
	{
		ereport(NOTICE,
				(errmsg("response \"%s\" was not stored", response->id),
				 errdetail("Its field \"store\" is false.")));
		return (Datum) 0;
	}
	response->tenant_id = msgstore_tenant_id;
	response->owner = msgstore_owner;
	if (!insert(response))
		ereport(ERROR,
				(errcode(ERRCODE_MS_CONFLICT),
				 errmsg("response already exists"),
				 errdetail("Response \"%s\" was saved before. Ids are those of "
						   "all tenants, and of deleted responses, too.",
						   response->id),
				 err_generic_string(PG_DIAG_COLUMN_NAME, "id")));
	return CStringGetTextDatum(response->id);
}

static bool
insert(const Response *response)
{
	/* The worker is to look after it: see responses_housekeeping_turn(). */
	if (response->background)
		wake_at_commit();
	return responses_are_in_memory() ? responses_memory_insert(response)
									 : responses_durable_insert(response);
}

/*
 * Memory asks for no rights and looks up no names. Only the table is read as
 * the functions' owner and with their search path: to switch both and back
 * takes several times as long as to find a response in memory.
 */
static Datum
get_document(FunctionCallInfo fcinfo, bool deleted_too)
{
	FmgrInfo *durable = fcinfo->flinfo->fn_extra;
	Jsonb *document;
	char *id;

	if (!responses_are_in_memory())
	{
		if (durable == NULL)
		{
			Oid types[] = {TEXTOID, BOOLOID};
			List *name = list_make2(makeString("msgstore"),
									makeString("_durable_document"));

			durable =
				MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
			fmgr_info_cxt(LookupFuncName(name, 2, types, false),
						  durable,
						  fcinfo->flinfo->fn_mcxt);
			fcinfo->flinfo->fn_extra = durable;
		}
		return FunctionCall2(durable,
							 PG_GETARG_DATUM(0),
							 BoolGetDatum(deleted_too));
	}
	id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	document = responses_memory_document(id, deleted_too);
	if (document == NULL)
		responses_refuse_unknown(id);
	PG_RETURN_JSONB_P(document);
}

static bool
apply_patch(Response *response, void *change)
{
	const Patch *patch = change;

	if (responses_are_deleted(response) ||
		!responses_allow(response->tenant_id, response->owner, true))
		return false;
	if (patch->worker_id != NULL)
		responses_check_claim(response, patch->worker_id);
	responses_apply_patch(response, patch->fields);
	return true;
}

static bool
mark_deleted(Response *response, void *arg)
{
	(void) arg;
	if (responses_are_deleted(response) ||
		!responses_allow(response->tenant_id, response->owner, false))
		return false;
	response->deleted_at = GetCurrentTimestamp();
	return true;
}

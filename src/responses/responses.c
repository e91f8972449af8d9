/*
 * responses/responses.c: saves, returns, updates and deletes responses.
 *
 * The room keeps responses of assistants in one of two stores, the table
 * (durable.c) or shared memory (memory.c), which behave the same. It promises
 * that a document comes back with every field equal, that a tenant uses an ID
 * once, and that a finished response stays finished. It needs
 * inbox to measure numbers and read timestamps, and wake to tell the worker
 * about background responses.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "responses/audit.h"
#include "responses/blocks.h"
#include "responses/compose.h"
#include "responses/document.h"
#include "responses/fields.h"
#include "responses/memory.h"
#include "responses/permission.h"
#include "responses/responses.h"
#include "responses/status.h"
#include "responses/store.h"
#include "responses/use.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"
#include "tenancy/placement.h"
#include "wake/wake.h"

typedef struct Patch
{
	Jsonb *fields;
	char *worker_id; /* must hold the claim, or NULL */
} Patch;

static Datum save(Jsonb *document, Jsonb *request);
static Datum get_document(FunctionCallInfo fcinfo, bool deleted_too);
static Jsonb *find_document(const char *id, bool deleted_too);
pg_noreturn static void refuse_in_memory(const char *id, bool deleted_too);
static bool apply_patch(Response *response, void *change);
static bool mark_deleted(Response *response, void *arg);

PG_FUNCTION_INFO_V1(msgstore_response_scope);
PG_FUNCTION_INFO_V1(msgstore_response_document);
PG_FUNCTION_INFO_V1(msgstore_document_bytes);
PG_FUNCTION_INFO_V1(msgstore_max_page_bytes);
PG_FUNCTION_INFO_V1(msgstore_response_tenant);
PG_FUNCTION_INFO_V1(msgstore_response_place);
PG_FUNCTION_INFO_V1(msgstore_save_response);
PG_FUNCTION_INFO_V1(msgstore_save_background);
PG_FUNCTION_INFO_V1(msgstore_get_response);
PG_FUNCTION_INFO_V1(msgstore_get_response_for_chain);
PG_FUNCTION_INFO_V1(msgstore_durable_document);
PG_FUNCTION_INFO_V1(msgstore_update_response);
PG_FUNCTION_INFO_V1(msgstore_delete_response);

Datum
msgstore_response_scope(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[5];
	bool nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type is not a row type");
	values[0] = CStringGetTextDatum(msgstore_tenant_id);
	values[1] = CStringGetTextDatum(msgstore_owner);
	nulls[1] = msgstore_owner[0] == '\0' || msgstore_admin;
	values[2] = BoolGetDatum(responses_are_in_memory());
	values[3] = CStringGetTextDatum(msgstore_owner);
	values[4] = BoolGetDatum(msgstore_admin);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* For the lists; null if the response was removed since they found it. */
Datum
msgstore_response_document(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.tenant_id = text_to_cstring(PG_GETARG_TEXT_PP(0)),
					   .id = text_to_cstring(PG_GETARG_TEXT_PP(1))};
	Response *response = responses_find(&key);

	if (response == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(responses_make_document(response));
}

/* For a page of documents, whose size is limited. */
Datum
msgstore_document_bytes(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64((int64) responses_measure(PG_GETARG_JSONB_P(0)));
}

Datum
msgstore_max_page_bytes(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT64(msgstore_max_response_bytes);
}

Datum
msgstore_response_tenant(PG_FUNCTION_ARGS)
{
	const char *tenant_id =
		responses_find_tenant(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (tenant_id == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(tenant_id));
}

Datum
msgstore_response_place(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	Response *response = responses_find(&key);

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

/* What get_document calls for the table, with the rights of the owner. */
Datum
msgstore_durable_document(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	bool deleted_too = PG_GETARG_BOOL(1);
	Response *response = responses_find(&key);

	if (response == NULL || (responses_are_deleted(response) && !deleted_too) ||
		!audit_admit(response, false, "get"))
		responses_refuse_unknown(key.id);
	use_note(response->tenant_id, list_make1(response->id));
	PG_RETURN_JSONB_P(responses_make_document(response));
}

Datum
msgstore_update_response(PG_FUNCTION_ARGS)
{
	Response *response;
	Patch patch = {NULL, NULL};
	ResponseKey key = {NULL, NULL};

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	key.id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	patch.fields = PG_GETARG_JSONB_P(1);
	if (!PG_ARGISNULL(2))
		patch.worker_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	response = responses_change(&key, apply_patch, &patch);
	if (response == NULL)
		responses_refuse_unknown(key.id);
	PG_RETURN_JSONB_P(responses_make_document(response));
}

Datum
msgstore_delete_response(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	Response *response = responses_change(&key, mark_deleted, NULL);

	if (response == NULL)
		responses_refuse_unknown(key.id);
	audit_removal(response, "resource.deleted");
	PG_RETURN_BOOL(true);
}

long
responses_housekeeping_turn(void)
{
	static Statement take_turn = {.sql = "SELECT msgstore._response_turn()"};
	bool isnull;

	statement_execute(&take_turn, NULL, NULL);
	return (long) DatumGetInt64(statement_value(0, 1, &isnull));
}

void
responses_shmem_request(void)
{
	blocks_shmem_request();
	audit_shmem_request();
}

void
responses_shmem_startup(void)
{
	blocks_shmem_startup();
	audit_shmem_startup();
}

/* The ID as a text, or 0 if the document says not to store it. */
static Datum
save(Jsonb *document, Jsonb *request)
{
	Response *response;

	placement_check_own();
	response = responses_read_document(document);
	if (request != NULL)
	{
		if (!response->background)
			responses_refuse_field("background",
								   "is not true",
								   "The field must be true in a background "
								   "response.");
		if (strcmp(response->status, "queued") != 0)
			responses_refuse_field("status",
								   "is not \"queued\"",
								   "The status of a new background response "
								   "must be \"queued\".");
		responses_check_size(request);
		response->background_request = request;
	}
	if (responses_says(response, "store", false))
	{
		ereport(NOTICE,
				(errmsg("response \"%s\" was not stored", response->id),
				 errdetail("The field \"store\" is false.")));
		return (Datum) 0;
	}
	response->tenant_id = msgstore_tenant_id;
	response->owner = msgstore_owner;
	responses_note_end(response);
	/* The worker must look after it: see responses_housekeeping_turn(). */
	if (response->background)
		wake_at_commit();
	if (!responses_insert(response))
		ereport(ERROR,
				(errcode(ERRCODE_MS_CONFLICT),
				 errmsg("response already exists"),
				 errdetail("ID \"%s\" is in use. IDs cannot be reused after a "
						   "delete.",
						   response->id),
				 err_generic_string(PG_DIAG_COLUMN_NAME, "id")));
	return CStringGetTextDatum(response->id);
}

/*
 * Reading from memory needs no rights and looks up no names. Only the table is
 * read as the owner of the functions, with their search path: switching both
 * takes several times as long as finding a response in memory.
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
	document = find_document(id, deleted_too);
	if (document == NULL)
		refuse_in_memory(id, deleted_too);
	PG_RETURN_JSONB_P(document);
}

/* The response is looked up once more only for the audit. */
static void
refuse_in_memory(const char *id, bool deleted_too)
{
	ResponseKey key = {.id = id};
	Response *response = msgstore_response_audit ? responses_find(&key) : NULL;

	if (response != NULL && (deleted_too || !responses_are_deleted(response)))
		(void) audit_admit(response, false, "get");
	responses_refuse_unknown(id);
}

/* In memory; a session without a tenant looks among its own first. */
static Jsonb *
find_document(const char *id, bool deleted_too)
{
	const char *tenant_id = msgstore_tenant_id;
	Jsonb *document = responses_memory_document(tenant_id, id, deleted_too);

	if (document != NULL || tenant_id[0] != '\0')
		return document;
	tenant_id = responses_find_tenant(id);
	return tenant_id != NULL
			   ? responses_memory_document(tenant_id, id, deleted_too)
			   : NULL;
}

static bool
apply_patch(Response *response, void *change)
{
	const Patch *patch = change;

	if (responses_are_deleted(response) ||
		!audit_admit(response, true, "update"))
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
		!audit_admit(response, false, "delete"))
		return false;
	response->deleted_at = GetCurrentTimestamp();
	return true;
}

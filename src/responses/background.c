/*
 * responses/background.c: background responses, which a worker completes later.
 *
 * A worker claims the oldest queued response, sends heartbeats and finishes
 * with update_response. Every step checks the response as it is then, so that a
 * late worker changes nothing.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "responses/audit.h"
#include "responses/compose.h"
#include "responses/document.h"
#include "responses/fields.h"
#include "responses/permission.h"
#include "responses/status.h"
#include "responses/store.h"
#include "server/errors.h"
#include "server/settings.h"
#include "tenancy/placement.h"

/* How to release a stale claim. */
typedef struct Reaping
{
	TimestampTz before; /* a claim is stale if its heartbeat is older */
	bool retry;			/* queue the response again, if it may be */
} Reaping;

static bool claim(Response *response, void *worker_id);
static bool beat(Response *response, void *worker_id);
static bool cancel(Response *response, void *delete_finished);
static bool set_request(Response *response, void *request);
static bool reap(Response *response, void *reaping);
static char *read_worker_id(FunctionCallInfo fcinfo, int argument);

PG_FUNCTION_INFO_V1(msgstore_claim_response);
PG_FUNCTION_INFO_V1(msgstore_heartbeat_response);
PG_FUNCTION_INFO_V1(msgstore_cancel_response);
PG_FUNCTION_INFO_V1(msgstore_save_background_request);
PG_FUNCTION_INFO_V1(msgstore_reap_response);

/* One row, or none if nothing is queued. */
Datum
msgstore_claim_response(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *worker_id = read_worker_id(fcinfo, 0);
	Response *response = NULL;
	Datum values[3];
	bool nulls[3] = {false};

	placement_check_scope();
	InitMaterializedSRF(fcinfo, 0);
	while (response == NULL)
	{
		ResponseKey key;

		if (!responses_next_queued(msgstore_tenant_id, &key))
			return (Datum) 0;
		/* In memory, another session may have claimed it since. */
		response = responses_change(&key, claim, worker_id);
	}
	values[0] = CStringGetTextDatum(response->id);
	values[1] = JsonbPGetDatum(responses_make_document(response));
	nulls[2] = response->background_request == NULL;
	values[2] = PointerGetDatum(response->background_request);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	return (Datum) 0;
}

Datum
msgstore_heartbeat_response(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};

	if (responses_change(&key, beat, read_worker_id(fcinfo, 1)) == NULL)
		responses_refuse_unknown(key.id);
	PG_RETURN_BOOL(true);
}

Datum
msgstore_cancel_response(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	bool delete_finished = PG_GETARG_BOOL(1);
	Response *response = responses_change(&key, cancel, &delete_finished);

	if (response == NULL)
		responses_refuse_unknown(key.id);
	audit_removal(response,
				  responses_are_deleted(response) ? "resource.deleted"
												  : "resource.cancelled");
	if (responses_are_deleted(response))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(responses_make_document(response));
}

Datum
msgstore_save_background_request(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.id = text_to_cstring(PG_GETARG_TEXT_PP(0))};
	Jsonb *request = PG_GETARG_JSONB_P(1);

	responses_check_size(request);
	PG_RETURN_BOOL(responses_change(&key, set_request, request) != NULL);
}

Datum
msgstore_reap_response(PG_FUNCTION_ARGS)
{
	ResponseKey key = {.tenant_id = text_to_cstring(PG_GETARG_TEXT_PP(0)),
					   .id = text_to_cstring(PG_GETARG_TEXT_PP(1))};
	Reaping reaping = {.before = PG_GETARG_TIMESTAMPTZ(2),
					   .retry = PG_GETARG_BOOL(3)};

	PG_RETURN_BOOL(responses_change(&key, reap, &reaping) != NULL);
}

static bool
claim(Response *response, void *worker_id)
{
	if (!response->background || responses_are_deleted(response) ||
		strcmp(response->status, "queued") != 0)
		return false;
	responses_move(response, "in_progress");
	response->worker_id = worker_id;
	response->worker_heartbeat = GetCurrentTimestamp();
	response->attempt_count++;
	return true;
}

static bool
beat(Response *response, void *worker_id)
{
	if (responses_are_deleted(response) ||
		!audit_admit(response, true, "heartbeat"))
		return false;
	responses_check_claim(response, worker_id);
	response->worker_heartbeat = GetCurrentTimestamp();
	return true;
}

/* A response that is cancelled already stays as it is. */
static bool
cancel(Response *response, void *delete_finished)
{
	if (responses_are_deleted(response) ||
		!audit_admit(response, false, "cancel"))
		return false;
	if (response->background && responses_are_active(response))
		responses_move(response, "cancelled");
	else if (*(bool *) delete_finished)
		response->deleted_at = GetCurrentTimestamp();
	else if (!response->background ||
			 strcmp(response->status, "cancelled") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_CONFLICT),
				 errmsg("cannot cancel response with status \"%s\"",
						response->status),
				 errdetail("Only a queued or in_progress background response "
						   "can be cancelled.")));
	return true;
}

static bool
set_request(Response *response, void *request)
{
	if (responses_are_deleted(response) ||
		!audit_admit(response, true, "update"))
		return false;
	response->background_request = request;
	return true;
}

/* Retries as often as an event is retried, then fails the response. */
static bool
reap(Response *response, void *arg)
{
	const Reaping *reaping = arg;

	if (responses_are_deleted(response) || !response->background ||
		strcmp(response->status, "in_progress") != 0 ||
		response->worker_heartbeat == DT_NOBEGIN ||
		response->worker_heartbeat >= reaping->before)
		return false;
	if (reaping->retry && response->attempt_count <= msgstore_max_retries)
	{
		response->status = "queued";
		response->worker_id = NULL;
		response->worker_heartbeat = DT_NOBEGIN;
		return true;
	}
	responses_move(response, "failed");
	response->error = DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in,
							CStringGetDatum("{\"code\": \"server_error\", "
											"\"message\": \"worker heartbeat "
											"expired\"}")));
	return true;
}

static char *
read_worker_id(FunctionCallInfo fcinfo, int argument)
{
	char *worker_id = text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (worker_id[0] == '\0')
		responses_refuse_field("worker_id",
							   "is empty",
							   "The worker ID must be a non-empty string.");
	return worker_id;
}

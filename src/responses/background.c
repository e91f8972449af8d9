/*
 * responses/background.c: responses that a worker makes later.
 *
 * A worker claims the oldest that is queued, says now and then that it still
 * lives, and finishes with update_response. Every step asks again, of the
 * response as it is then, whether it may: who comes late changes nothing.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "responses/responses.h"
#include "server/errors.h"
#include "server/settings.h"
#include "server/statement.h"

/* What becomes of a stale claim. */
typedef struct Reaping
{
	TimestampTz before; /* heartbeats from then on are not stale */
	bool retry;
} Reaping;

static bool claim(Response *response, void *worker_id);
static bool beat(Response *response, void *worker_id);
static bool cancel(Response *response, void *delete_finished);
static bool set_request(Response *response, void *request);
static bool reap(Response *response, void *reaping);
static bool is_active(const Response *response);
static char *read_worker_id(FunctionCallInfo fcinfo, int argument);

PG_FUNCTION_INFO_V1(msgstore_claim_response);
PG_FUNCTION_INFO_V1(msgstore_heartbeat_response);
PG_FUNCTION_INFO_V1(msgstore_cancel_response);
PG_FUNCTION_INFO_V1(msgstore_save_background_request);
PG_FUNCTION_INFO_V1(msgstore_reap_response);

/* One row, or none when nothing is queued. */
Datum
msgstore_claim_response(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char *worker_id = read_worker_id(fcinfo, 0);
	bool in_memory = responses_are_in_memory();
	Response *response = NULL;
	Datum values[3];
	bool nulls[3] = {false};

	InitMaterializedSRF(fcinfo, 0);
	while (response == NULL)
	{
		char *id = in_memory
					   ? responses_memory_next_queued(msgstore_tenant_id)
					   : responses_durable_next_queued(msgstore_tenant_id);

		if (id == NULL)
			return (Datum) 0;
		/* From memory another session may have taken it since. */
		response = responses_change(id, claim, worker_id);
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
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (responses_change(id, beat, read_worker_id(fcinfo, 1)) == NULL)
		responses_refuse_unknown(id);
	PG_RETURN_BOOL(true);
}

Datum
msgstore_cancel_response(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool delete_finished = PG_GETARG_BOOL(1);
	Response *response = responses_change(id, cancel, &delete_finished);

	if (response == NULL)
		responses_refuse_unknown(id);
	if (responses_are_deleted(response))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(responses_make_document(response));
}

/* Nothing happens to a response that is not there. */
Datum
msgstore_save_background_request(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb *request = PG_GETARG_JSONB_P(1);

	responses_check_size(request);
	PG_RETURN_BOOL(responses_change(id, set_request, request) != NULL);
}

Datum
msgstore_reap_response(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Reaping reaping = {.before = PG_GETARG_TIMESTAMPTZ(1),
					   .retry = PG_GETARG_BOOL(2)};

	PG_RETURN_BOOL(responses_change(id, reap, &reaping) != NULL);
}

void
responses_check_claim(const Response *response, const char *worker_id)
{
	if (response->background && strcmp(response->status, "in_progress") == 0 &&
		response->worker_id != NULL &&
		strcmp(response->worker_id, worker_id) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_MS_CONFLICT),
			 errmsg("response \"%s\" is not claimed by \"%s\"",
					response->id,
					worker_id),
			 errdetail("It was cancelled, or its claim went stale and was "
					   "taken back.")));
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
		!responses_allow(response->tenant_id, response->owner, true))
		return false;
	responses_check_claim(response, worker_id);
	response->worker_heartbeat = GetCurrentTimestamp();
	return true;
}

/* What was cancelled before is as it should be; it is only shown again. */
static bool
cancel(Response *response, void *delete_finished)
{
	if (responses_are_deleted(response) ||
		!responses_allow(response->tenant_id, response->owner, false))
		return false;
	if (is_active(response))
		responses_move(response, "cancelled");
	else if (*(bool *) delete_finished)
		response->deleted_at = GetCurrentTimestamp();
	else if (!response->background ||
			 strcmp(response->status, "cancelled") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_MS_CONFLICT),
				 errmsg("cannot cancel response with status \"%s\"",
						response->status),
				 errdetail("Only a background response that is queued or "
						   "in_progress can be cancelled.")));
	return true;
}

static bool
set_request(Response *response, void *request)
{
	if (responses_are_deleted(response) ||
		!responses_allow(response->tenant_id, response->owner, true))
		return false;
	response->background_request = request;
	return true;
}

/* Queued again as often as an event is retried, then failed. */
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

static bool
is_active(const Response *response)
{
	return response->background &&
		   (strcmp(response->status, "queued") == 0 ||
			strcmp(response->status, "in_progress") == 0);
}

static char *
read_worker_id(FunctionCallInfo fcinfo, int argument)
{
	char *worker_id = text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (worker_id[0] == '\0')
		responses_refuse_field("worker_id",
							   "is empty",
							   "It tells the workers apart.");
	return worker_id;
}

long
responses_housekeeping_turn(void)
{
	static Statement take_turn = {.sql = "SELECT msgstore._response_turn()"};
	bool isnull;

	statement_execute(&take_turn, NULL, NULL);
	return (long) DatumGetInt64(statement_value(0, 1, &isnull));
}

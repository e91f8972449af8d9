/*
 * responses/status.c: the status of a response, and how it may change.
 *
 * A response moves forward only. What is finished stays as it is, so that a
 * late worker cannot undo a cancellation.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "responses/fields.h"
#include "responses/status.h"
#include "server/errors.h"

PG_FUNCTION_INFO_V1(msgstore_check_response_move);

static const char *const statuses[] = {"queued",
									   "in_progress",
									   "completed",
									   "incomplete",
									   "failed",
									   "cancelled",
									   "requires_action"};

/* The empty string stands for a response that does not exist yet. */
static const char *const moves[][2] = {
	{"", "queued"},
	{"", "in_progress"},
	{"queued", "in_progress"},
	{"queued", "cancelled"},
	{"in_progress", "completed"},
	{"in_progress", "incomplete"},
	{"in_progress", "failed"},
	{"in_progress", "cancelled"},
	{"in_progress", "requires_action"},
};

Datum
msgstore_check_response_move(PG_FUNCTION_ARGS)
{
	responses_check_move(text_to_cstring(PG_GETARG_TEXT_PP(0)),
						 text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

bool
responses_status_exists(const char *status)
{
	for (Size i = 0; i < lengthof(statuses); i++)
	{
		if (strcmp(status, statuses[i]) == 0)
			return true;
	}
	return false;
}

void
responses_check_status(const char *status)
{
	if (responses_status_exists(status))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("invalid status \"%.*s\"",
					pg_mbcliplen(status, strlen(status), 63),
					status),
			 errdetail("The status must be queued, in_progress, completed, "
					   "incomplete, failed, cancelled or requires_action."),
			 err_generic_string(PG_DIAG_COLUMN_NAME, "status")));
}

void
responses_check_move(const char *from, const char *to)
{
	for (Size i = 0; i < lengthof(moves); i++)
	{
		if (strcmp(moves[i][0], from) == 0 && strcmp(moves[i][1], to) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("invalid transition from %s to %s", from, to),
			 errdetail("A response can move from queued to in_progress or "
					   "cancelled, and from in_progress to completed, "
					   "incomplete, failed, cancelled or requires_action."),
			 err_generic_string(PG_DIAG_COLUMN_NAME, "status")));
}

/* A failed response has no output, whatever it had before. */
void
responses_move(Response *response, const char *to)
{
	responses_check_move(response->status, to);
	response->status = pstrdup(to);
	if (strcmp(to, "failed") == 0)
		response->output = responses_empty_array();
}

bool
responses_are_active(const Response *response)
{
	return response->deleted_at == DT_NOBEGIN &&
		   (strcmp(response->status, "queued") == 0 ||
			strcmp(response->status, "in_progress") == 0);
}

/*
 * The clock is the server's: created_at and completed_at are the client's, and
 * may lie in the past when the response is stored.
 */
void
responses_note_end(Response *response)
{
	if (response->ended_at == DT_NOBEGIN &&
		strcmp(response->status, "queued") != 0 &&
		strcmp(response->status, "in_progress") != 0)
		response->ended_at = GetCurrentTimestamp();
}

/*
 * responses/turn.c: the conversation of a response, and its turn there.
 *
 * A conversation has one response at a time that is queued or in progress: two
 * would answer the same items. The turn begins when the response is inserted
 * and ends in the transaction in which the response ends, which also adds its
 * items to the conversation. Responses without a conversation run none of these
 * statements.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "responses/status.h"
#include "responses/turn.h"
#include "server/settings.h"
#include "server/statement.h"

static Statement begin_turn = {
	.sql = "SELECT msgstore._begin_turn($1, $2, $3,"
		   " make_interval(secs => $4 / 1000.0),"
		   " make_interval(secs => $5))",
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, INT4OID, INT4OID}};

static Statement end_turn = {
	.sql = "SELECT msgstore._end_turn($1, $2, $3, $4 || $5)",
	.nargs = 5,
	.argtypes = {TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID}};

static Statement renew_turn = {.sql = "SELECT msgstore._renew_turn($1, $2, $3)",
							   .nargs = 3,
							   .argtypes = {TEXTOID, TEXTOID, TEXTOID}};

static void end(const Response *response, const char *conversation);
static bool adds_items(const Response *response);
static void
put_key(Datum *values, const Response *response, const char *conversation);

char *
turn_conversation(const Response *response)
{
	JsonbValue conversation;
	JsonbValue id;

	if (response->extensions == NULL ||
		getKeyJsonValueFromContainer(&response->extensions->root,
									 "conversation",
									 strlen("conversation"),
									 &conversation) == NULL ||
		conversation.type != jbvBinary ||
		!JsonContainerIsObject(conversation.val.binary.data) ||
		getKeyJsonValueFromContainer(conversation.val.binary.data,
									 "id",
									 strlen("id"),
									 &id) == NULL ||
		id.type != jbvString)
		return NULL;
	return pnstrdup(id.val.string.val, id.val.string.len);
}

void
turn_begin(const Response *response)
{
	const char *conversation = turn_conversation(response);
	Datum values[5];

	if (conversation == NULL)
		return;
	SPI_connect();
	put_key(values, response, conversation);
	values[3] = Int32GetDatum(msgstore_conversation_wait);
	values[4] = Int32GetDatum(msgstore_response_stale_after);
	statement_execute(&begin_turn, values, NULL);
	SPI_finish();
	if (!responses_are_active(response))
		end(response, conversation);
}

void
turn_follow(const Response *response)
{
	const char *conversation = turn_conversation(response);
	Datum values[3];

	if (conversation == NULL)
		return;
	if (!responses_are_active(response))
	{
		end(response, conversation);
		return;
	}
	SPI_connect();
	put_key(values, response, conversation);
	statement_execute(&renew_turn, values, NULL);
	SPI_finish();
}

static void
end(const Response *response, const char *conversation)
{
	Datum values[5];

	SPI_connect();
	put_key(values, response, conversation);
	values[3] = JsonbPGetDatum(response->input);
	values[4] = JsonbPGetDatum(response->output);
	statement_execute(&end_turn, values, adds_items(response) ? NULL : "   nn");
	SPI_finish();
}

/* What failed or was cancelled did not happen. */
static bool
adds_items(const Response *response)
{
	return response->deleted_at == DT_NOBEGIN &&
		   (strcmp(response->status, "completed") == 0 ||
			strcmp(response->status, "incomplete") == 0 ||
			strcmp(response->status, "requires_action") == 0);
}

static void
put_key(Datum *values, const Response *response, const char *conversation)
{
	values[0] = CStringGetTextDatum(response->tenant_id);
	values[1] = CStringGetTextDatum(conversation);
	values[2] = CStringGetTextDatum(response->id);
}

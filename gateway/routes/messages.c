/*
 * messages.c: outbound messages: one call of send() for each.
 *
 * They are not batched: send() puts the message into its conversation before
 * it returns, and two messages of one conversation would wait for each other.
 */
#include <string.h>

#include "http/reply.h"
#include "routes/routes.h"

static const char send_sql[] =
	"SELECT message_id FROM msgstore.send($1, $2::jsonb, $3, $4)";

static void send_message(Request *request, const char *channel);

void
post_message_sms(Request *request)
{
	send_message(request, "sms");
}

void
post_message_email(Request *request)
{
	send_message(request, "email");
}

static void
send_message(Request *request, const char *channel)
{
	Pool *pool = request->gateway->pool;
	const char *why;
	PoolConnection *connection = pool_borrow(pool, 0, &why);
	const char *values[] = {channel,
							request->body.data,
							request->key[0] != '\0' ? request->key : NULL,
							request->id};
	QueryOutcome outcome;

	if (connection == NULL)
	{
		reply_sqlstate(request, "08001", why, NULL, false);
		return;
	}
	outcome =
		pool_query(connection, request->caller.tenant, send_sql, 4, values);
	pool_return(pool, connection);
	if (strcmp(outcome.sqlstate, "00000") != 0)
		reply_query_error(request, &outcome, true);
	else if (PQntuples(outcome.result) != 1)
		reply_error(request, 500, "internal error");
	else
		reply_accepted(request, PQgetvalue(outcome.result, 0, 0));
	PQclear(outcome.result);
}

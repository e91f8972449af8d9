/*
 * messages.c: outbound messages: one call of send() for each.
 *
 * They are not batched: send() adds the message to its conversation before it
 * returns, so two messages of one conversation would wait for each other.
 */
#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

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
	const char *values[] = {channel,
							request->body.data,
							request->key[0] != '\0' ? request->key : NULL,
							request->id};
	PGresult *row = call_database(request, send_sql, 4, values, true);

	if (row != NULL)
		reply_accepted(request, PQgetvalue(row, 0, 0));
	PQclear(row);
}

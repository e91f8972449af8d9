/*
 * messages.c: outbound messages: one call of send() for each.
 *
 * They are not batched: send() adds the message to its conversation before it
 * returns, so two messages of one conversation would wait for each other.
 */
#include <string.h>

#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

static const char send_sql[] =
	"SELECT message_id, duplicate FROM msgstore.send($1, $2::jsonb, $3, $4)";

void
post_message(Request *request)
{
	const char *values[] = {request->segment,
							request->body.data,
							request->key[0] != '\0' ? request->key : NULL,
							request->id};
	PGresult *row;

	request->for_channel = true;
	row = call_database(request, send_sql, 4, values, true);
	if (row != NULL)
		reply_accepted(request,
					   PQgetvalue(row, 0, 0),
					   strcmp(PQgetvalue(row, 0, 1), "t") == 0);
	PQclear(row);
}

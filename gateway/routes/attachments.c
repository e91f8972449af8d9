/*
 * attachments.c: files of messages that were received.
 *
 * The database says with which type and disposition a file can be served: what
 * a stranger sent must not run in a browser.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "http/reply.h"
#include "routes/call.h"
#include "routes/handlers.h"

enum
{
	COLUMN_TYPE,
	COLUMN_DISPOSITION,
	COLUMN_CONTENT,
	COLUMN_PROBLEM
};

static const char attachment_sql[] =
	"SELECT a.media_type, a.disposition, a.content, a.problem"
	" FROM msgstore.get_attachment($1::uuid) AS a";

static bool is_uuid(const char *text);
static void answer_file(Request *request, const PGresult *row);

void
get_attachment(Request *request)
{
	const char *values[] = {request->segment};
	PGresult *row;

	if (!is_uuid(request->segment))
	{
		reply_error(request, 404, "attachment does not exist");
		return;
	}
	row = call_database(request, attachment_sql, 1, values, true);
	if (row == NULL)
		return;
	if (PQgetisnull(row, 0, COLUMN_CONTENT))
		reply_error_detail(request,
						   404,
						   "content of the attachment is not stored",
						   PQgetvalue(row, 0, COLUMN_PROBLEM));
	else
		answer_file(request, row);
	PQclear(row);
}

static bool
is_uuid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	for (i = 0; form[i] != '\0'; i++)
	{
		if (form[i] == '-' ? text[i] != '-'
						   : !isxdigit((unsigned char) text[i]))
			return false;
	}
	return text[i] == '\0';
}

static void
answer_file(Request *request, const PGresult *row)
{
	Text body = {0};
	size_t length;
	unsigned char *content =
		PQunescapeBytea((unsigned char *) PQgetvalue(row, 0, COLUMN_CONTENT),
						&length);

	if (content != NULL)
		text_add(&body, (const char *) content, length);
	text_addf(&request->reply.headers,
			  "Content-Disposition: %s\r\n",
			  PQgetvalue(row, 0, COLUMN_DISPOSITION));
	request->reply.kept_type = strdup(PQgetvalue(row, 0, COLUMN_TYPE));
	if (content == NULL || body.failed || request->reply.headers.failed ||
		request->reply.kept_type == NULL)
	{
		text_free(&body);
		reply_unavailable(request, "out of memory", 1);
	}
	else
		reply_body(request, 200, request->reply.kept_type, &body);
	PQfreemem(content);
}

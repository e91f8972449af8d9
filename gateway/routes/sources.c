/*
 * sources.c: webhooks as providers send them.
 *
 * The database verifies, decodes and stores them, and says how to answer. It
 * gets the raw bytes, because they are what is signed. No key is needed: the
 * path cannot be guessed.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"
#include "gateway.h"
#include "http/headers.h"
#include "http/reply.h"
#include "http/request.h"
#include "routes/call.h"
#include "routes/handlers.h"

enum
{
	COLUMN_STATUS,
	COLUMN_TYPE,
	COLUMN_ANSWER,
	COLUMN_OUTCOME,
	COLUMN_REASON,
	COLUMN_ID
};

static const char receive_sql[] =
	"SELECT r.status, r.content_type, r.answer, r.outcome, r.reason, r.id"
	" FROM msgstore.receive_webhook($1, $2, $3, $4::jsonb, $5::bytea, $6) AS r";

static void write_url(const Request *request, Text *url);
static const char *get_forwarded(const Request *request, const char *name);
static void write_headers(const Request *request, Text *json);
static void write_bytes(const Text *body, Text *hex);
static void answer(Request *request, const PGresult *row);
static const char *find_type(const char *type);

void
receive_webhook(Request *request)
{
	Text path = {0};
	Text url = {0};
	Text headers = {0};
	Text body = {0};
	PGresult *row;

	/* Only to take a connection of that class: there is no key. */
	request->scope = SCOPE_INGEST;
	text_addf(&path, "wh_%s", request->segment);
	write_url(request, &url);
	write_headers(request, &headers);
	write_bytes(&request->body, &body);
	if (path.failed || url.failed || headers.failed || body.failed)
		reply_unavailable(request, "out of memory", 1);
	else
	{
		const char *values[] = {path.data,
								request_is_head(request) ? "GET"
														 : request->method,
								url.data,
								headers.data,
								body.data,
								request->id};

		row = call_database(request, receive_sql, 6, values, true);
		if (row != NULL)
			answer(request, row);
		PQclear(row);
	}
	text_free(&path);
	text_free(&url);
	text_free(&headers);
	text_free(&body);
}

/* As the client sees it: through a proxy that can be trusted, the proxy's. */
static void
write_url(const Request *request, Text *url)
{
	const char *scheme = get_forwarded(request, "X-Forwarded-Proto");
	const char *host = get_forwarded(request, "X-Forwarded-Host");
	const char *query = request->info->query_string;

	if (scheme != NULL && strncasecmp(scheme, "https", 5) == 0)
		text_add_string(url, "https://");
	else if (scheme != NULL && strncasecmp(scheme, "http", 4) == 0)
		text_add_string(url, "http://");
	else
		text_add_string(url,
						request->gateway->tls != NULL ? "https://" : "http://");
	if (host == NULL)
		host = request_header(request, "Host");
	if (host != NULL)
		text_add(url, host, strcspn(host, ", \t"));
	text_add_string(url, request->path);
	if (query != NULL && *query != '\0')
		text_addf(url, "?%s", query);
	/* What cannot be text cannot have been signed by a provider. */
	if (!url->failed && !utf8_valid(url->data, url->length))
		url->data[strcspn(url->data, "?")] = '\0';
}

static const char *
get_forwarded(const Request *request, const char *name)
{
	return request_trusts_peer(request) ? request_header(request, name) : NULL;
}

/* A JSON object. The last of repeated headers counts. */
static void
write_headers(const Request *request, Text *json)
{
	const struct mg_request_info *info = request->info;

	text_add_string(json, "{");
	for (int i = 0; i < info->num_headers; i++)
	{
		const char *name = info->http_headers[i].name;
		const char *value = info->http_headers[i].value;

		if (i > 0)
			text_add_string(json, ",");
		text_add_json(json, name, strlen(name));
		text_add_string(json, ":");
		text_add_json(json, value, strlen(value));
	}
	text_add_string(json, "}");
}

/* As the text of a bytea. */
static void
write_bytes(const Text *body, Text *hex)
{
	static const char digits[] = "0123456789abcdef";
	char part[2 * 1024];
	size_t filled = 0;

	text_add_string(hex, "\\x");
	for (size_t i = 0; i < body->length; i++)
	{
		unsigned char c = (unsigned char) body->data[i];

		part[filled++] = digits[c >> 4];
		part[filled++] = digits[c & 15];
		if (filled == sizeof(part))
		{
			text_add(hex, part, filled);
			filled = 0;
		}
	}
	text_add(hex, part, filled);
}

static void
answer(Request *request, const PGresult *row)
{
	int status = atoi(PQgetvalue(row, 0, COLUMN_STATUS));
	const char *type = PQgetvalue(row, 0, COLUMN_TYPE);
	const char *reason = PQgetvalue(row, 0, COLUMN_REASON);
	bool accepted = strcmp(PQgetvalue(row, 0, COLUMN_OUTCOME), "accepted") == 0;
	Text body = {0};

	if (!PQgetisnull(row, 0, COLUMN_ANSWER))
		text_add(&body,
				 PQgetvalue(row, 0, COLUMN_ANSWER),
				 (size_t) PQgetlength(row, 0, COLUMN_ANSWER));
	else if (status >= 400)
	{
		reply_error(request, status, reason);
		if (status == 401)
			request->reply.challenge = "Basic realm=\"msgstore\"";
		request->reply.by_database = true;
		return;
	}
	else if (status != 204)
	{
		text_addf(&body,
				  "{\"status\":\"%s\"",
				  accepted ? "accepted" : "refused");
		if (!PQgetisnull(row, 0, COLUMN_ID))
			text_addf(&body, ",\"id\":\"%s\"", PQgetvalue(row, 0, COLUMN_ID));
		text_add_string(&body, "}");
	}
	if (body.failed)
		reply_unavailable(request, "out of memory", 1);
	else
		reply_body(request, status, find_type(type), &body);
	request->reply.by_database = !accepted;
	text_free(&body);
}

/* The answer outlives the row, so its type is one of these. */
static const char *
find_type(const char *type)
{
	static const char *const types[] = {"text/plain", "text/xml"};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (strcmp(types[i], type) == 0)
			return types[i];
	}
	return NULL;
}

/*
 * sources.c: webhooks as providers send them.
 *
 * The database verifies, decodes and stores them, and says how to answer. It
 * gets the raw bytes, because they are what is signed. A whole e-mail in them
 * is decoded here, once the database has verified the webhook. No key is
 * needed: the path cannot be guessed.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cjson/cJSON.h>

#include "config/config.h"
#include "gateway.h"
#include "guard/sources.h"
#include "http/body.h"
#include "http/headers.h"
#include "http/reply.h"
#include "http/request.h"
#include "log.h"
#include "mail/mail.h"
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
	" FROM msgstore.receive_webhook($1, $2, $3, $4::jsonb, $5::bytea, $6,"
	" $7::jsonb, $8::bytea) AS r";

enum
{
	VALUE_PATH,
	VALUE_METHOD,
	VALUE_URL,
	VALUE_HEADERS,
	VALUE_BODY,
	VALUE_ID,
	VALUE_MAIL,
	VALUE_FILES,
	VALUES
};

static PGresult *
store(Request *request, const char *values[], Text *mail, Text *files);
static PGresult *read_mail(Request *request,
						   const char *values[],
						   const char *place,
						   Text *mail,
						   Text *files);
static bool
find_mail(const Text *body, const char *place, Text *decoded, Text *found);
static bool find_field(const Text *body, const char *name, Text *value);
static void write_url(const Request *request, Text *url);
static const char *get_forwarded(const Request *request, const char *name);
static void write_headers(const Request *request, Text *json);
static void answer(Request *request, const PGresult *row);
static const char *find_type(const char *type);

bool
prepare_webhook(Request *request)
{
	const Config *config = request->gateway->config;
	SourceLimits limits;
	Text path = {0};
	const char *sqlstate;
	const char *why;

	text_addf(&path, "wh_%s", request->segment);
	if (path.failed)
	{
		reply_unavailable(request, "out of memory", 1);
		return false;
	}
	sqlstate =
		sources_find(request->gateway->sources, path.data, &limits, &why);
	text_free(&path);
	if (strcmp(sqlstate, "00000") != 0)
	{
		reply_sqlstate(request, sqlstate, why, NULL, false);
		return false;
	}
	memcpy(request->source_tenant, limits.tenant, sizeof(limits.tenant));
	request->caller.rate = limits.rate;
	request->caller.burst = limits.burst;
	request->too_large_status = limits.too_large_status;
	/* One client gets half of the memory, and a body is counted twice. */
	if (limits.max_body_bytes > 0)
		request->body_limit =
			(size_t) (limits.max_body_bytes < config->max_buffer_bytes / 4
						  ? limits.max_body_bytes
						  : config->max_buffer_bytes / 4);
	return true;
}

void
receive_webhook(Request *request)
{
	Text path = {0};
	Text url = {0};
	Text headers = {0};
	Text mail = {0};
	Text files = {0};
	PGresult *row;

	/* Only to take a connection of that class: there is no key. */
	request->scope = SCOPE_INGEST;
	text_addf(&path, "wh_%s", request->segment);
	write_url(request, &url);
	write_headers(request, &headers);
	if (path.failed || url.failed || headers.failed)
		reply_unavailable(request, "out of memory", 1);
	else
	{
		const char *values[VALUES] = {
			path.data,
			request_is_head(request) ? "GET" : request->method,
			url.data,
			headers.data,
			request->body.data,
			request->id};

		row = store(request, values, &mail, &files);
		if (row != NULL &&
			strcmp(PQgetvalue(row, 0, COLUMN_OUTCOME), "mail") == 0)
		{
			PGresult *place = row;

			row = read_mail(request,
							values,
							PQgetvalue(place, 0, COLUMN_ANSWER),
							&mail,
							&files);
			PQclear(place);
		}
		if (row != NULL)
		{
			sources_count(request->gateway->sources,
						  path.data,
						  PQgetvalue(row, 0, COLUMN_OUTCOME));
			answer(request, row);
		}
		PQclear(row);
	}
	text_free(&path);
	text_free(&url);
	text_free(&headers);
	text_free(&mail);
	text_free(&files);
}

/* The body and the files as bytes. */
static PGresult *
store(Request *request, const char *values[], Text *mail, Text *files)
{
	const int formats[VALUES] = {[VALUE_BODY] = 1, [VALUE_FILES] = 1};
	int lengths[VALUES] = {[VALUE_BODY] = (int) request->body.length,
						   [VALUE_FILES] = (int) files->length};
	const Statement statement = {.sql = receive_sql,
								 .count = VALUES,
								 .values = values,
								 .lengths = lengths,
								 .formats = formats};

	values[VALUE_MAIL] = mail->data;
	values[VALUE_FILES] = files->data;
	return call_statement(request, &statement, true);
}

/*
 * The database has verified the webhook, and asks for the e-mail in it. Calls
 * it again with what the e-mail says.
 */
static PGresult *
read_mail(Request *request,
		  const char *values[],
		  const char *place,
		  Text *mail,
		  Text *files)
{
	Text decoded = {0};
	Text found = {0};
	bool done = find_mail(&request->body, place, &decoded, &found) &&
				mail_read(found.data, found.length, mail, files);

	text_free(&decoded);
	if (done)
		return store(request, values, mail, files);
	reply_unavailable(request, "out of memory", 1);
	return NULL;
}

/*
 * The place is {"offset", "size"} in the body, or {"field"} of a form. found
 * refers to the body, or to what was decoded.
 */
static bool
find_mail(const Text *body, const char *place, Text *decoded, Text *found)
{
	cJSON *json = cJSON_Parse(place);
	const cJSON *field = request_json_member(json, "field");
	const cJSON *offset = request_json_member(json, "offset");
	const cJSON *size = request_json_member(json, "size");
	bool done = true;

	found->data = body->data;
	if (cJSON_IsString(field))
	{
		done = find_field(body, field->valuestring, decoded);
		*found = *decoded;
	}
	else if (cJSON_IsNumber(offset) && cJSON_IsNumber(size) &&
			 body->length > 0 &&
			 offset->valuedouble + size->valuedouble <= (double) body->length)
	{
		found->data = body->data + (size_t) offset->valuedouble;
		found->length = (size_t) size->valuedouble;
	}
	cJSON_Delete(json);
	return done;
}

/* The first field of that name in a form. Returns false if memory runs out. */
static bool
find_field(const Text *body, const char *name, Text *value)
{
	size_t length = strlen(name);
	size_t at = 0;

	while (at < body->length)
	{
		const char *field = body->data + at;
		size_t size = strcspn(field, "&");

		if (size > length && strncmp(field, name, length) == 0 &&
			field[length] == '=')
		{
			int decoded;

			text_add(value, field, size - length);
			if (value->failed)
				return false;
			decoded = mg_url_decode(field + length + 1,
									(int) (size - length - 1),
									value->data,
									(int) value->length + 1,
									1);
			value->length = decoded > 0 ? (size_t) decoded : 0;
			return true;
		}
		at += size + 1;
	}
	return true;
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

static void
answer(Request *request, const PGresult *row)
{
	int status = atoi(PQgetvalue(row, 0, COLUMN_STATUS));
	const char *type = PQgetvalue(row, 0, COLUMN_TYPE);
	const char *reason = PQgetvalue(row, 0, COLUMN_REASON);
	bool accepted = strcmp(PQgetvalue(row, 0, COLUMN_OUTCOME), "accepted") == 0;
	Text body = {0};

	/* The answer may say nothing of it, so that the provider does not retry. */
	if (!accepted && !PQgetisnull(row, 0, COLUMN_REASON))
		log_event(request->gateway->log,
				  LOG_WARN,
				  "webhook of source wh_%.8s is %s: %s",
				  request->segment,
				  PQgetvalue(row, 0, COLUMN_OUTCOME),
				  reason);
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

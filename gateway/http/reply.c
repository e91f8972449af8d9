/*
 * reply.c: answers: headers, error bodies, and the status of each SQLSTATE.
 *
 * Handlers only fill in request->reply. Only reply_send writes to the client,
 * so no answer lacks a header, and none starts before it is complete.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "config/config.h"
#include "gateway.h"
#include "http/connections.h"
#include "http/headers.h"
#include "http/reply.h"
#include "log.h"
#include "metrics.h"

/* Longer than the pool takes to notice that the database is back. */
#define DATABASE_RETRY_SECS 2

/* Answers that a client reads more slowly are cut off: 64 kB a second. */
#define SLOWEST_BYTES_PER_SECOND 65536

/* Answers up to this size fit into the socket's buffer and cannot block. */
#define SMALL_ANSWER_BYTES 16384

#define PIECE_BYTES 262144

/* Bytes of a channel's name that messages show at least. */
#define CHANNEL_SHOWN 32

typedef struct Status
{
	int status;
	const char *phrase;
	const char *code; /* of the error body; NULL: no error */
} Status;

static const Status statuses[] = {
	{200, "OK", NULL},
	{201, "Created", NULL},
	{202, "Accepted", NULL},
	{204, "No Content", NULL},
	{304, "Not Modified", NULL},
	{400, "Bad Request", "bad_request"},
	{401, "Unauthorized", "unauthorized"},
	{403, "Forbidden", "forbidden"},
	{404, "Not Found", "not_found"},
	{405, "Method Not Allowed", "method_not_allowed"},
	{406, "Not Acceptable", "not_acceptable"},
	{408, "Request Timeout", "request_timeout"},
	{409, "Conflict", "conflict"},
	{412, "Precondition Failed", "precondition_failed"},
	{413, "Payload Too Large", "payload_too_large"},
	{415, "Unsupported Media Type", "unsupported_media_type"},
	{429, "Too Many Requests", "rate_limited"},
	{500, "Internal Server Error", "internal_error"},
	{501, "Not Implemented", "not_implemented"},
	{503, "Service Unavailable", "service_unavailable"},
	{504, "Gateway Timeout", "gateway_timeout"},
};

static const char *body_end(const Reply *reply);
static void send_large(Request *request, const Text *head, const Text *body);
static const Status *find_status(int status);
static void set_error_body(Request *request,
						   int status,
						   const char *message,
						   const char *detail);
static void
set_api_error_body(Request *request, int status, const char *message);
static const char *api_error_code(const Request *request, int status);
static const char *api_error_type(int status);
static bool is_about_channel(const char *message, const char *channel);
static int status_of_sqlstate(const char *sqlstate, bool content);
static void add_headers(const Request *request, Text *out);
static void add_header(Text *out, const char *name, const char *value);
static const char *current_date(void);
static void add_security_headers(const Request *request, Text *out);
static void count_status(Request *request);

void
reply_accepted(Request *request, const char *id, bool duplicate)
{
	Text body = {0};

	text_add_string(&body, "{\"status\":\"accepted\",\"id\":");
	text_add_json(&body, id, strlen(id));
	text_add_string(&body, duplicate ? ",\"duplicate\":true}" : "}");
	reply_body(request, 202, NULL, &body);
}

void
reply_body(Request *request, int status, const char *content_type, Text *body)
{
	text_free(&request->reply.body);
	request->reply.status = status;
	request->reply.content_type = content_type;
	request->reply.body = *body;
	memset(body, 0, sizeof(*body));
}

void
reply_error(Request *request, int status, const char *message)
{
	set_error_body(request, status, message, NULL);
}

void
reply_error_detail(Request *request,
				   int status,
				   const char *message,
				   const char *detail)
{
	set_error_body(request, status, message, detail);
}

void
reply_too_large(Request *request, size_t limit)
{
	char message[64];

	snprintf(message, sizeof(message), "body is larger than %zu bytes", limit);
	set_error_body(request,
				   request->too_large_status != 0 ? request->too_large_status
												  : 413,
				   message,
				   NULL);
}

void
reply_unauthorized(Request *request, const char *message)
{
	set_error_body(request,
				   401,
				   message,
				   "Send the key as \"Authorization: Bearer KEY\".");
	request->reply.challenge = request_header(request, "Authorization") == NULL
								   ? "Bearer"
								   : "Bearer error=\"invalid_token\"";
	metrics_add(request->gateway->metrics, METRIC_UNAUTHORIZED, 1);
}

void
reply_forbidden(Request *request, const char *message)
{
	set_error_body(request, 403, message, NULL);
	request->reply.challenge = "Bearer error=\"insufficient_scope\"";
	metrics_add(request->gateway->metrics, METRIC_UNAUTHORIZED, 1);
}

void
reply_unavailable(Request *request, const char *message, long seconds)
{
	set_error_body(request, 503, message, NULL);
	request->reply.retry_after = seconds;
}

void
reply_too_much(Request *request)
{
	metrics_add(request->gateway->metrics, METRIC_HTTP_BUFFER_REFUSED, 1);
	reply_unavailable(request, "too much data is in flight", 1);
}

void
reply_limited(Request *request, const char *message, long limit, long reset)
{
	set_error_body(request, 429, message, NULL);
	request->reply.retry_after = reset;
	request->reply.limit = limit;
	request->reply.limit_reset = reset;
	metrics_add(request->gateway->metrics, METRIC_RATE_LIMITED, 1);
}

void
reply_sqlstate(Request *request,
			   const char *sqlstate,
			   const char *message,
			   const char *detail,
			   bool content)
{
	static const char version_conflict[] = "version conflict";
	int status = status_of_sqlstate(sqlstate, content);

	request->reply.by_database = true;
	if (request->scope == SCOPE_OPERATE && strcmp(sqlstate, "42501") == 0)
	{
		set_error_body(request,
					   403,
					   "the gateway's database role may not do this",
					   "Grant it the access level \"operate\".");
		return;
	}
	if (status == 400 && request->for_channel &&
		is_about_channel(message, request->segment))
		status = 404;
	if (status == 409 && request->conditional &&
		strncmp(message, version_conflict, strlen(version_conflict)) == 0)
		status = 412;
	if (strncmp(sqlstate, "MS", 2) == 0 && status != 500)
	{
		set_error_body(request, status, message, detail);
		if (status == 429 || status == 503)
			request->reply.retry_after = DATABASE_RETRY_SECS;
		return;
	}
	if (status == 503)
		reply_unavailable(request,
						  strncmp(sqlstate, "08001", 5) == 0
							  ? message
							  : "database is not available",
						  DATABASE_RETRY_SECS);
	else if (status == 400)
		reply_error(request, 400, "body has a value that cannot be stored");
	else
		reply_error(request, 500, "internal error");
	if (strncmp(sqlstate, "08", 2) != 0)
		log_event(request->gateway->log,
				  status == 500 ? LOG_ERROR : LOG_WARN,
				  "request %s: database error %s: %s",
				  request->id,
				  sqlstate,
				  message);
}

void
reply_head(Request *request, const char *content_type, Text *out)
{
	request->close = true;
	request->reply.status = 200;
	request->reply.content_type = content_type;
	request->reply.open_ended = true;
	add_headers(request, out);
}

void
reply_send(Request *request)
{
	Reply *reply = &request->reply;
	size_t length = request_is_head(request) ? 0 : reply->body.length;
	bool small = length <= SMALL_ANSWER_BYTES;
	Text out = {0};

	if (request->given_away)
	{
		mg_disable_connection_keep_alive(request->conn);
		count_status(request);
		return;
	}
	/* Bytes left of an unread body must not be taken for the next request. */
	if (!request->body_read)
		request->close = true;
	add_headers(request, &out);
	if (small && length > 0)
	{
		text_add(&out, reply->body.data, length);
		text_add_string(&out, body_end(reply));
	}
	if (!out.failed)
		count_status(request);
	if (request->deferred)
		connection_send(request->connection, &out);
	else
	{
		if (request->close || out.failed)
			mg_disable_connection_keep_alive(request->conn);
		if (small && !out.failed)
			mg_write(request->conn, out.data, out.length);
		else if (!out.failed)
			send_large(request, &out, &reply->body);
	}
	text_free(&out);
}

/*
 * JSON ends with a newline, so that in a terminal the prompt follows on a line
 * of its own. It is not part of the body in memory, which may be large.
 */
static const char *
body_end(const Reply *reply)
{
	return reply->content_type == NULL && reply->body.length > 0 ? "\n" : "";
}

/* Not copied together with its head, and written by pieces. */
static void
send_large(Request *request, const Text *head, const Text *body)
{
	const char *end = body_end(&request->reply);
	int64_t seconds = request->gateway->config->request_timeout +
					  (int64_t) (body->length / SLOWEST_BYTES_PER_SECOND);
	size_t sent = 0;

	connection_watch(request->connection, WATCH_WRITING, seconds * SECOND_US);
	if (mg_write(request->conn, head->data, head->length) > 0)
	{
		while (sent < body->length)
		{
			size_t left = body->length - sent;
			int wrote = mg_write(request->conn,
								 body->data + sent,
								 left < PIECE_BYTES ? left : PIECE_BYTES);

			if (wrote <= 0)
				break;
			sent += (size_t) wrote;
		}
	}
	if (sent < body->length || mg_write(request->conn, end, strlen(end)) < 0)
		mg_disable_connection_keep_alive(request->conn);
	connection_unwatch(request->connection);
}

const char *
reply_phrase(int status)
{
	return find_status(status)->phrase;
}

static const Status *
find_status(int status)
{
	size_t last = sizeof(statuses) / sizeof(statuses[0]) - 1;

	for (size_t i = 0; i < last; i++)
	{
		if (statuses[i].status == status)
			return &statuses[i];
	}
	return &statuses[last];
}

static void
set_error_body(Request *request,
			   int status,
			   const char *message,
			   const char *detail)
{
	Text body = {0};

	if (strncmp(request->path, "/v1/", 4) == 0)
	{
		set_api_error_body(request, status, message);
		return;
	}
	text_addf(&body,
			  "{\"code\":\"%s\",\"message\":",
			  find_status(status)->code);
	text_add_json(&body, message, strlen(message));
	if (detail != NULL)
	{
		text_add_string(&body, ",\"details\":");
		text_add_json(&body, detail, strlen(detail));
	}
	text_add_string(&body, "}");
	reply_body(request, status, NULL, &body);
}

/* The error body that clients of OpenAI's Responses API expect. */
static void
set_api_error_body(Request *request, int status, const char *message)
{
	const char *code = api_error_code(request, status);
	Text body = {0};

	text_add_string(&body, "{\"error\":{\"message\":");
	text_add_json(&body, message, strlen(message));
	text_addf(&body, ",\"type\":\"%s\",\"param\":", api_error_type(status));
	if (request->reply.param[0] != '\0')
		text_add_json(&body,
					  request->reply.param,
					  strlen(request->reply.param));
	else
		text_add_string(&body, "null");
	text_add_string(&body, ",\"code\":");
	text_add_json(&body, code, strlen(code));
	text_add_string(&body, "}}");
	reply_body(request, status, NULL, &body);
}

/* Codes of the API; others are those of the other routes. */
static const char *
api_error_code(const Request *request, int status)
{
	if (request->reply.code[0] != '\0')
		return request->reply.code;
	if (status == 400 && request->reply.param[0] != '\0')
		return "invalid_value";
	if (status == 401)
		return "invalid_api_key";
	if (status == 429)
		return "rate_limit_exceeded";
	if (status == 500)
		return "server_error";
	return find_status(status)->code;
}

static const char *
api_error_type(int status)
{
	if (status == 401)
		return "authentication_error";
	if (status == 403)
		return "permission_error";
	if (status == 429)
		return "rate_limit_error";
	return status < 500 ? "invalid_request_error" : "server_error";
}

/*
 * The path's channel does not exist. For SQL this is an invalid argument, as it
 * is in a body; in a path it is the resource that is missing. The message shows
 * the beginning of a long name only.
 */
static bool
is_about_channel(const char *message, const char *channel)
{
	static const char start[] = "channel \"";
	static const char end[] = "\" does not exist";
	size_t same = 0;

	if (strncmp(message, start, strlen(start)) != 0)
		return false;
	message += strlen(start);
	while (channel[same] != '\0' && message[same] == channel[same])
		same++;
	return channel[same] == '\0' ? strcmp(message + same, end) == 0
								 : same >= CHANNEL_SHOWN;
}

/*
 * Errors that a retry may get past are 503: 08, 53, 57, and those that have
 * stored nothing: 40 (deadlock, serialization failure), 25006 (a standby) and
 * 55P03 (lock not available).
 */
static int
status_of_sqlstate(const char *sqlstate, bool content)
{
	static const char *const transient[] =
		{"08", "40", "53", "57", "25006", "55P03"};
	int status;

	if (strncmp(sqlstate, "MS", 2) == 0)
	{
		status = atoi(sqlstate + 2);
		return find_status(status)->status == status && status >= 400 ? status
																	  : 500;
	}
	for (size_t i = 0; i < sizeof(transient) / sizeof(transient[0]); i++)
	{
		if (strncmp(sqlstate, transient[i], strlen(transient[i])) == 0)
			return 503;
	}
	if (content &&
		(strncmp(sqlstate, "22", 2) == 0 || strncmp(sqlstate, "54", 2) == 0))
		return 400;
	return 500;
}

static void
add_headers(const Request *request, Text *out)
{
	const Reply *reply = &request->reply;

	text_add_string(out, "HTTP/1.1 ");
	text_add_number(out, (size_t) reply->status);
	text_add(out, " ", 1);
	text_add_string(out, find_status(reply->status)->phrase);
	text_add(out, "\r\n", 2);
	add_header(out, "Cache-Control", reply->cached ? "no-cache" : "no-store");
	add_header(out, "Date", current_date());
	/* An answer without content has no length either (RFC 9110, 8.6). */
	if (reply->status != 204 && reply->status != 304)
	{
		if (!reply->open_ended)
		{
			text_add_string(out, "Content-Length: ");
			text_add_number(out, reply->body.length + strlen(body_end(reply)));
			text_add(out, "\r\n", 2);
		}
		add_header(out,
				   "Content-Type",
				   reply->content_type != NULL ? reply->content_type
											   : "application/json");
	}
	add_header(out,
			   "Connection",
			   request->persistent && !request->close ? "keep-alive" : "close");
	add_header(out, "X-Request-Id", request->id);
	if (request->traceparent[0] != '\0')
		add_header(out, "traceparent", request->traceparent);
	if (reply->challenge != NULL)
		add_header(out, "WWW-Authenticate", reply->challenge);
	if (reply->allow[0] != '\0')
		add_header(out, "Allow", reply->allow);
	if (reply->codings != NULL)
		add_header(out, "Accept-Encoding", reply->codings);
	if (reply->etag[0] != '\0')
		text_addf(out, "ETag: \"%s\"\r\n", reply->etag);
	if (reply->retry_after > 0)
		text_addf(out, "Retry-After: %ld\r\n", reply->retry_after);
	if (reply->limit > 0)
		text_addf(out,
				  "X-RateLimit-Limit: %ld\r\nX-RateLimit-Reset: %ld\r\n",
				  reply->limit,
				  reply->limit_reset);
	text_add(out, reply->headers.data, reply->headers.length);
	add_security_headers(request, out);
	if (!reply->open_ended)
		text_add_string(out, "\r\n");
}

static void
add_header(Text *out, const char *name, const char *value)
{
	text_add_string(out, name);
	text_add(out, ": ", 2);
	text_add_string(out, value);
	text_add(out, "\r\n", 2);
}

/* Formatted once a second by each thread. */
static const char *
current_date(void)
{
	static _Thread_local char date[64];
	static _Thread_local time_t at;
	time_t now = time(NULL);
	struct tm utc;

	if (now != at)
	{
		gmtime_r(&now, &utc);
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc);
		at = now;
	}
	return date;
}

static void
add_security_headers(const Request *request, Text *out)
{
	const Config *config = request->gateway->config;

	if (!config->security_headers)
		return;
	text_add_string(out,
					"X-Content-Type-Options: nosniff\r\n"
					"X-Frame-Options: DENY\r\n"
					"Referrer-Policy: no-referrer\r\n"
					"Content-Security-Policy: ");
	if (request->reply.policy != NULL)
		text_add_string(out, request->reply.policy);
	else
	{
		text_add_string(out, "default-src ");
		text_add_string(out, config->csp_default_src);
	}
	text_add_string(out, "\r\n");
	if (config->hsts)
		text_add_string(out,
						"Strict-Transport-Security: max-age=63072000; "
						"includeSubDomains\r\n");
}

static void
count_status(Request *request)
{
	Metrics *metrics = request->gateway->metrics;
	int status = request->reply.status;

	metrics_add(metrics, METRIC_HTTP_REQUESTS, 1);
	metrics_add(metrics,
				status < 400   ? METRIC_HTTP_2XX
				: status < 500 ? METRIC_HTTP_4XX
							   : METRIC_HTTP_5XX,
				1);
}

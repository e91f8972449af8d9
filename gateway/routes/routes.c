/*
 * routes.c: finds the route of a request in the table; 404, 405 and Allow
 * follow from it.
 *
 * The checks that all routes share are made here, in this order: path, method,
 * repeated headers, key and scope, Accept and query or media type and coding,
 * size, JSON, idempotency key, breaker, rate limit, handler. A request that
 * fails a check has no effect on later ones: it uses up neither an idempotency
 * key nor a sender's limit.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "config/config.h"
#include "gateway.h"
#include "guard/auth.h"
#include "guard/limits.h"
#include "http/body.h"
#include "http/coding.h"
#include "http/headers.h"
#include "http/parameters.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "routes/routes.h"
#include "routes/table.h"
#include "routes/webhooks.h"
#include "text.h"

static void dispatch(Request *request);
static bool check_repeated(Request *request);
static bool admit(Request *request, Scope scope);
static bool take_owner(Request *request);
static int find_route(Request *request);
static bool match_path(Request *request, const char *pattern);
static bool decode_segment(const char *path, size_t length, char *segment);
static bool match_method(const Request *request, const char *method);
static void add_allowed(Request *request, const char *method);
static bool accept_answer(Request *request, const Route *route);
static bool accept_body(Request *request, const Route *route);
static void run_guarded(Request *request);
static bool take_limits(Request *request);
static bool take_ip_limit(Request *request, long limit);
static bool take_sender_limit(Request *request, long limit);

void
routes_dispatch(Request *request)
{
	request->route = find_route(request);
	if (request->route < 0)
		return;
	dispatch(request);
	if (!request->deferred)
		routes_finish(request);
}

void
routes_finish(Request *request)
{
	Limits *limits = request->gateway->limits;
	const Route *route = &routes[request->route];
	int status = request->reply.status;

	if (request->guarded)
	{
		/* A simulated failure is not a failure of the route. */
		limits_leave_breaker(limits,
							 request->route,
							 request->reply.simulated ? 503 : status);
		if (status >= 300)
			limits_give_back(limits, &request->sender);
	}
	if (route->handler == post_webhook ||
		route->handler == post_webhook_status ||
		route->handler == receive_webhook)
		webhook_count_refusal(request);
}

static void
dispatch(Request *request)
{
	const Route *route = &routes[request->route];

	request->scope = route->scope;
	if (!check_repeated(request) || !admit(request, route->scope) ||
		(route->prepare != NULL && !route->prepare(request)))
		return;
	if (strcmp(route->method, "GET") == 0
			? !accept_answer(request, route)
			: (route->body != NULL || route->raw) &&
				  !accept_body(request, route))
		return;
	if (route->query != NULL && !request_check_query(request, route->query))
		return;
	if (route->guarded)
		run_guarded(request);
	else
		route->handler(request);
}

static bool
check_repeated(Request *request)
{
	const char *name = request_find_repeated(request);
	char message[64];

	if (name == NULL)
		return true;
	snprintf(message, sizeof(message), "header \"%s\" is repeated", name);
	reply_error(request, 400, message);
	return false;
}

/* Fills in request->caller; returns false after answering. */
static bool
admit(Request *request, Scope scope)
{
	const char *why;

	switch (auth_check(request, scope, &why))
	{
		case AUTH_ADMITTED:
			return scope != SCOPE_RESPONSES || take_owner(request);
		case AUTH_UNAUTHORIZED:
			reply_unauthorized(request, why);
			break;
		case AUTH_FORBIDDEN:
			reply_forbidden(request, why);
			break;
		case AUTH_UNAVAILABLE:
			reply_unavailable(request, why, 1);
			break;
	}
	return false;
}

/*
 * A client behind which there are many users names the owner of each request.
 * Without one it would see the responses of all.
 */
static bool
take_owner(Request *request)
{
	const char *header = request->gateway->config->owner_header;
	char *owner = request->caller.owner;
	const char *value = NULL;
	char message[128];
	int lines = 0;

	if (header[0] == '\0' || owner[0] != '\0')
		return true;
	for (int i = 0; i < request->info->num_headers; i++)
	{
		if (strcasecmp(request->info->http_headers[i].name, header) != 0)
			continue;
		value = request->info->http_headers[i].value;
		lines++;
	}
	if (lines == 1 && value[0] != '\0' && strlen(value) <= OWNER_MAX &&
		utf8_valid(value, strlen(value)))
	{
		snprintf(owner, OWNER_MAX + 1, "%s", value);
		return true;
	}
	snprintf(message,
			 sizeof(message),
			 "header \"%.64s\" must name the owner of the request once",
			 header);
	reply_error(request, 400, message);
	return false;
}

/* Returns the route's number, or -1 after answering 404 or 405. */
static int
find_route(Request *request)
{
	bool known = false;

	for (int i = 0; i < routes_count; i++)
	{
		const char *pattern = routes[i].path != NULL
								  ? routes[i].path
								  : request->gateway->config->health_path;

		if (!match_path(request, pattern))
			continue;
		if (match_method(request, routes[i].method))
		{
			request->reply.allow[0] = '\0';
			return i;
		}
		known = true;
		add_allowed(request, routes[i].method);
	}
	if (known)
		reply_error(request, 405, "method is not allowed for this path");
	else
		reply_error(request, 404, "path does not exist");
	return -1;
}

/* A pattern has up to two variable segments. */
static bool
match_path(Request *request, const char *pattern)
{
	char *const segments[] = {request->segment, request->second_segment};
	const char *whole = pattern;
	const char *path = request->path;
	int n = 0;

	request->second_segment[0] = '\0';
	for (;;)
	{
		size_t fixed = (size_t) (strchrnul(pattern, '{') - pattern);
		size_t length;

		if (strncmp(path, pattern, fixed) != 0)
			return false;
		path += fixed;
		pattern += fixed;
		if (*pattern == '\0')
			break;
		length = strcspn(path, "/");
		if (!decode_segment(path, length, segments[n++]))
			return false;
		path += length;
		pattern += strcspn(pattern, "}") + 1;
	}
	if (n == 0)
		text_copy(request->segment,
				  sizeof(request->segment),
				  strrchr(whole, '/') + 1);
	return *path == '\0';
}

/* Text with a NUL or invalid UTF-8 cannot be an id: not found. */
static bool
decode_segment(const char *path, size_t length, char *segment)
{
	int decoded =
		mg_url_decode(path, (int) length, segment, PATH_SEGMENT_MAX + 1, 0);

	return decoded > 0 && strlen(segment) == (size_t) decoded &&
		   utf8_valid(segment, (size_t) decoded);
}

static bool
match_method(const Request *request, const char *method)
{
	return strcmp(request->method, method) == 0 ||
		   (request_is_head(request) && strcmp(method, "GET") == 0);
}

static void
add_allowed(Request *request, const char *method)
{
	char *allow = request->reply.allow;
	size_t length = strlen(allow);

	/* The path can match a route of its own and one with a variable. */
	if (strstr(allow, method) != NULL)
		return;
	snprintf(allow + length,
			 sizeof(request->reply.allow) - length,
			 "%s%s",
			 length > 0 ? ", " : "",
			 strcmp(method, "GET") == 0 ? "GET, HEAD" : method);
}

static bool
accept_answer(Request *request, const Route *route)
{
	bool exact;

	if (route->raw ||
		request_accepts(request, "application/json", &exact) > 0 ||
		(route->type != NULL && request_accepts(request, route->type, &exact)))
		return true;
	reply_error(request, 406, "Accept does not allow JSON");
	return false;
}

static bool
accept_body(Request *request, const Route *route)
{
	if (route->raw)
		return coding_check(request) && request_read_body(request);
	if (!request_has_json_type(request))
	{
		reply_error(request, 415, "Content-Type must be application/json");
		return false;
	}
	return coding_check(request) && request_read_body(request) &&
		   request_check_json(request) && request_read_key(request);
}

static void
run_guarded(Request *request)
{
	long retry_after = 0;

	request->guarded = limits_enter_breaker(request->gateway->limits,
											request->route,
											&retry_after);
	if (!request->guarded)
		reply_unavailable(request,
						  "route failed repeatedly and is paused",
						  retry_after);
	else if (take_limits(request))
		routes[request->route].handler(request);
}

static bool
take_limits(Request *request)
{
	const Config *config = request->gateway->config;
	const Caller *caller = &request->caller;
	const char *tenant =
		caller->tenant[0] != '\0' ? caller->tenant : request->source_tenant;
	long reset;

	if (caller->rate > 0 && !limits_take_tenant(request->gateway->limits,
												tenant,
												caller->rate,
												caller->burst,
												&reset))
	{
		reply_limited(request,
					  "too many requests of this tenant",
					  caller->rate,
					  reset);
		return false;
	}
	return take_ip_limit(request, config->rate_limit_per_ip) &&
		   take_sender_limit(request, config->rate_limit_per_sender);
}

static bool
take_ip_limit(Request *request, long limit)
{
	LimitTicket ticket;
	long reset;

	if (limit <= 0 || limits_take(request->gateway->limits,
								  LIMIT_IP,
								  request->client,
								  limit,
								  &ticket,
								  &reset))
		return true;
	reply_limited(request, "too many requests from this address", limit, reset);
	return false;
}

static bool
take_sender_limit(Request *request, long limit)
{
	char sender[512];
	long reset;

	if (limit <= 0 ||
		!request_body_member(request, "from", sender, sizeof(sender)) ||
		limits_take(request->gateway->limits,
					LIMIT_SENDER,
					sender,
					limit,
					&request->sender,
					&reset))
		return true;
	reply_limited(request, "too many messages from this sender", limit, reset);
	return false;
}

/*
 * server.c: the HTTP listener and its threads.
 *
 * civetweb gives a thread to each connection for as long as it is kept alive.
 * So there is one thread for every allowed connection, and some spare threads
 * that only answer further clients with 503: within the limit, no client waits
 * for another one to disconnect.
 *
 * The server knows no route: the handler that it is started with answers each
 * request.
 */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <civetweb.h>

#include "clock.h"
#include "config/config.h"
#include "http/connections.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/server.h"
#include "http/tls.h"
#include "http/wire.h"
#include "log.h"

/* Threads that only refuse; each is held for a request's timeout at most. */
#define SPARE_THREADS 32

/* Files besides those of threads and pool: the log, sockets being accepted. */
#define OTHER_FILES 128

/* A number of civetweb, which has no name for it. */
#define FEATURE_IPV6 8

struct Server
{
	Gateway *gateway;
	RequestHandler handler;
	struct mg_context *context;
	Connections *connections;
	char start_error[256]; /* civetweb's first message if it cannot start */
	atomic_bool started;
	atomic_long in_flight; /* requests */
	atomic_bool draining;

	pthread_mutex_t mutex; /* for the condition alone */
	pthread_cond_t calm;   /* draining, and no request is in flight */
};

static bool start_civetweb(Server *server, Text *error);
static void explain_start(const Server *server, Text *error);
static bool raise_file_limit(const Config *config, Text *error);
static long count_files(const Config *config);
static int open_connection(const struct mg_connection *conn, void **data);
static void close_connection(const struct mg_connection *conn);
static int handle_request(struct mg_connection *conn);
static Request *begin_request(struct mg_connection *conn,
							  Connection *connection,
							  Request *without);
static void end_request(Request *request);
static void answer_request(Request *request, bool entered);
static int handle_broken_request(struct mg_connection *conn,
								 int status,
								 const char *message);
static int give_tls(void **context, void *data);
static int log_civetweb(const struct mg_connection *conn, const char *message);
static bool enter_request(Server *server);
static void leave_request(Server *server);
static void finish_request(Request *request);
static void log_request(const Request *request);
static void add_path(Text *line, const char *path);
static Server *server_of(const struct mg_connection *conn);

Server *
server_start(Gateway *gateway, RequestHandler handler, Text *error)
{
	Server *server;

	if (!raise_file_limit(gateway->config, error))
		return NULL;
	server = calloc(1, sizeof(*server));
	if (server == NULL)
	{
		text_add_string(error, "out of memory");
		return NULL;
	}
	server->gateway = gateway;
	server->handler = handler;
	server->connections = connections_create(gateway->config,
											 gateway->log,
											 gateway->metrics,
											 count_files(gateway->config));
	if (server->connections == NULL)
	{
		text_add_string(error, "out of memory or threads");
		free(server);
		return NULL;
	}
	pthread_mutex_init(&server->mutex, NULL);
	clock_init_condition(&server->calm);
	if (!start_civetweb(server, error))
	{
		server_stop(server);
		return NULL;
	}
	return server;
}

void
server_refuse(Server *server)
{
	server->draining = true;
}

bool
server_drain(Server *server, int64_t wait_us)
{
	struct timespec until = clock_timespec(clock_us() + wait_us);

	pthread_mutex_lock(&server->mutex);
	while (server->in_flight > 0 &&
		   pthread_cond_timedwait(&server->calm, &server->mutex, &until) == 0)
		continue;
	pthread_mutex_unlock(&server->mutex);
	return server->in_flight == 0;
}

void
server_stop(Server *server)
{
	if (server->context != NULL)
	{
		connections_end_input(server->connections);
		mg_stop(server->context);
	}
	connections_free(server->connections);
	pthread_cond_destroy(&server->calm);
	pthread_mutex_destroy(&server->mutex);
	free(server);
}

static bool
start_civetweb(Server *server, Text *error)
{
	const Config *config = server->gateway->config;
	const struct mg_callbacks callbacks = {
		.begin_request = handle_request,
		.http_error = handle_broken_request,
		.log_message = log_civetweb,
		.external_ssl_ctx = server->gateway->tls != NULL ? give_tls : NULL,
		.init_connection = open_connection,
		.connection_close = close_connection,
	};
	char address[256];
	char numbers[4][32];
	/* Paths are compared as they were sent, and no files are served. */
	/* clang-format off */
	const char *options[] = {
		"listening_ports", address,
		"num_threads", numbers[0],
		"max_request_size", numbers[1],
		"request_timeout_ms", numbers[2],
		"keep_alive_timeout_ms", numbers[3],
		"enable_keep_alive", "yes",
		"tcp_nodelay", "1",
		"listen_backlog", "1024",
		"decode_url", "no",
		"enable_directory_listing", "no",
		"enable_auth_domain_check", "no",
		NULL};
	/* clang-format on */
	const long values[] = {config->max_connections + SPARE_THREADS,
						   config->max_header_bytes,
						   config->request_timeout * 1000,
						   config->keep_alive * 1000};

	snprintf(address,
			 sizeof(address),
			 "%s%s",
			 config->address,
			 server->gateway->tls != NULL ? "s" : "");
	for (int i = 0; i < 4; i++)
		snprintf(numbers[i], sizeof(numbers[i]), "%ld", values[i]);
	server->context = mg_start(&callbacks, server, options);
	server->started = true;
	if (server->context == NULL)
		explain_start(server, error);
	return server->context != NULL;
}

/*
 * civetweb says "cannot bind to ADDRESS: 98 (Address already in use)", and of a
 * host that it does not know, that the port is invalid.
 */
static void
explain_start(const Server *server, Text *error)
{
	const Config *config = server->gateway->config;
	const char *reason = strrchr(server->start_error, '(');

	text_addf(error, "could not listen on %s: ", config->address);
	if (strchr(config->host, ':') != NULL && !mg_check_feature(FEATURE_IPV6))
		text_add_string(error,
						"civetweb was built without IPv6: listen on an IPv4 "
						"address behind a proxy, or build civetweb with "
						"USE_IPV6");
	else if (strstr(server->start_error, "invalid port spec") != NULL)
		text_addf(error,
				  "\"%s\" is not an address of this machine",
				  config->host);
	else if (strstr(server->start_error, "cannot bind") != NULL &&
			 reason != NULL)
		text_add(error, reason + 1, strcspn(reason + 1, ")"));
	else
		text_add_string(error, server->start_error);
}

/* Running out of files later would look like clients that disconnect. */
static bool
raise_file_limit(const Config *config, Text *error)
{
	rlim_t needed = (rlim_t) count_files(config);
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	if (limit.rlim_cur < needed)
	{
		limit.rlim_cur = needed < limit.rlim_max ? needed : limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= needed)
		return true;
	text_addf(error,
			  "HTTP_MAX_CONNECTIONS of %ld needs %ld open files, but the limit "
			  "is %ld",
			  config->max_connections,
			  (long) needed,
			  (long) limit.rlim_max);
	return false;
}

/* Two for every thread: its connection and its wake-up event; and listeners. */
static long
count_files(const Config *config)
{
	return 2 * (config->max_connections + SPARE_THREADS) + config->pool_max +
		   config->max_listeners + OTHER_FILES;
}

static int
open_connection(const struct mg_connection *conn, void **data)
{
	*data = connections_add(server_of(conn)->connections, conn);
	wire_open(server_of(conn)->gateway->tls != NULL);
	return 0;
}

static void
close_connection(const struct mg_connection *conn)
{
	Connection *connection = mg_get_user_connection_data(conn);

	wire_close();
	if (connection != NULL)
		connections_remove(connection);
}

static int
handle_request(struct mg_connection *conn)
{
	Connection *connection = mg_get_user_connection_data(conn);
	Request without; /* memory for a connection */
	Request *request = begin_request(conn, connection, &without);
	bool entered = enter_request(request->server);
	int status;

	wire_next_request();
	if (connection != NULL)
		connection_protect(connection, (unsigned) request->info->remote_port);
	answer_request(request, entered);
	if (request->deferred)
		status = 202;
	else
	{
		status = request->reply.status;
		end_request(request);
	}
	wire_resume();
	return status;
}

bool
server_can_defer(const Request *request)
{
	/* One thread at a time may use a TLS session. */
	return request->connection != NULL && !request->close &&
		   request->gateway->tls == NULL &&
		   connection_can_send(request->connection);
}

void
server_defer(Request *request)
{
	request_detach(request);
	request->deferred = true;
}

void
server_answer(Request *request)
{
	request->server->handler.finish(request);
	end_request(request);
}

static Request *
begin_request(struct mg_connection *conn,
			  Connection *connection,
			  Request *without)
{
	Server *server = server_of(conn);
	Request *request =
		connection != NULL ? connection_begin(connection) : without;

	wire_pause();
	request_open(request, server->gateway, conn);
	request->server = server;
	request->connection = connection;
	return request;
}

/* Sends the answer; afterwards the request's memory belongs to the next one. */
static void
end_request(Request *request)
{
	Server *server = request->server;
	Connection *connection = request->connection;

	finish_request(request);
	/* Where keys are required, a client without one has not earned a place. */
	if (connection != NULL && server->gateway->keys != NULL &&
		request->caller.prefix[0] == '\0')
		connection_expose(connection);
	request_close(request);
	leave_request(server);
	if (connection != NULL)
		connection_end(connection);
}

static void
answer_request(Request *request, bool entered)
{
	Connection *connection = request->connection;
	const char *fault;

	if (connection == NULL || connection_is_refused(connection))
	{
		request->close = true;
		reply_unavailable(request, "too many connections", 1);
	}
	else if (!entered)
	{
		request->close = true;
		reply_unavailable(request, "gateway is stopping", 1);
	}
	else if ((fault = request_find_fault(request)) != NULL)
	{
		request->close = true;
		reply_error(request, 400, fault);
	}
	else
		request->server->handler.handle(request);
}

/* Answers what civetweb refuses by itself: requests that are not HTTP. */
static int
handle_broken_request(struct mg_connection *conn,
					  int status,
					  const char *message)
{
	Request without;
	Request *request =
		begin_request(conn, mg_get_user_connection_data(conn), &without);

	(void) message;
	enter_request(request->server);
	request->close = true;
	request->body_read = false;
	/* The path may be incomplete. */
	request->path = "";
	if (status == 404)
		reply_error(request, 404, "path does not exist");
	else
		reply_error(request,
					400,
					"request is malformed, incomplete or too large");
	end_request(request);
	wire_resume();
	return 0;
}

/* Called for the one context, and once more at the end with NULL. */
static int
give_tls(void **context, void *data)
{
	Server *server = data;

	if (context != NULL)
		*context = tls_context(server->gateway->tls);
	return 1;
}

static int
log_civetweb(const struct mg_connection *conn, const char *message)
{
	Server *server = server_of(conn);

	if (!server->started && server->start_error[0] == '\0')
		snprintf(server->start_error,
				 sizeof(server->start_error),
				 "%s",
				 message);
	else if (server->started)
		log_event(server->gateway->log, LOG_WARN, "civetweb: %s", message);
	return 1;
}

/* Counts the request; returns false if the server is draining. */
static bool
enter_request(Server *server)
{
	server->in_flight++;
	return !server->draining;
}

static void
leave_request(Server *server)
{
	if (--server->in_flight > 0 || !server->draining)
		return;
	pthread_mutex_lock(&server->mutex);
	pthread_cond_signal(&server->calm);
	pthread_mutex_unlock(&server->mutex);
}

/*
 * The answer is now the only large thing that is left of the request. A route
 * that has not counted it before is refused here.
 */
static void
finish_request(Request *request)
{
	text_free(&request->body);
	if (!memory_resize(request->gateway->memory,
					   &request->memory,
					   request->client,
					   request->reply.body.length))
		reply_too_much(request);
	reply_send(request);
	log_request(request);
	if (!request->body_read)
		connection_linger(request->connection);
}

/* No query, no body, and of the headers only the ids: see log.c. */
static void
log_request(const Request *request)
{
	Log *log = request->gateway->log;
	int status = request->reply.status;
	LogLevel level = status == 500	? LOG_ERROR
					 : status > 500 ? LOG_WARN
									: LOG_INFO;
	Text line = {0};

	if (!log_is_on(log, level))
		return;
	text_add_string(&line, "\"method\":");
	text_add_json(&line, request->method, strnlen(request->method, 32));
	text_add_string(&line, ",\"path\":");
	add_path(&line, request->path);
	text_addf(&line,
			  ",\"status\":%d,\"duration_us\":%lld,\"client\":\"%s\","
			  "\"request_id\":",
			  status,
			  (long long) (clock_us() - request->started_us),
			  request->client);
	text_add_json(&line, request->id, strlen(request->id));
	if (request->traceparent[0] != '\0')
		text_addf(&line, ",\"traceparent\":\"%s\"", request->traceparent);
	if (request->caller.prefix[0] != '\0')
	{
		text_add_string(&line, ",\"key\":");
		text_add_json(&line,
					  request->caller.prefix,
					  strlen(request->caller.prefix));
	}
	if (request->mock)
		text_add_string(&line, ",\"mock\":true");
	log_members(log, level, &line);
	text_free(&line);
}

/* The path of a source is as good as a key, so only its beginning is shown. */
static void
add_path(Text *line, const char *path)
{
	static const char sources[] = "/api/webhooks/wh_";
	size_t shown = strnlen(path, PATH_SHOWN_MAX);

	if (strncmp(path, sources, strlen(sources)) == 0 &&
		shown > strlen(sources) + 8)
		shown = strlen(sources) + 8;
	text_add_json(line, path, shown);
}

static Server *
server_of(const struct mg_connection *conn)
{
	return mg_get_user_data(mg_get_context(conn));
}

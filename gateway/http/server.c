/*
 * server.c: civetweb's threads, its connections and their time limits.
 *
 * civetweb gives a thread to a connection for as long as it is kept alive. So
 * there is one thread for every connection that is allowed, and some more
 * that do nothing but tell further clients with 503 that there are too many:
 * within the limit no client waits for another one to hang up. When all places
 * are taken, whoever has not sent a request yet loses his (crowd.c).
 *
 * civetweb bounds how long headers may take, but a body that trickles in, or
 * an answer that trickles out, may hold a thread for ever, and it would read
 * what we refused to the end. So a timekeeper cuts connections whose time is
 * over. It needs their sockets, which civetweb does not give away: they are
 * found by their addresses, once for a connection that needs it.
 */
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <civetweb.h>

#include "clock.h"
#include "gateway.h"
#include "http/crowd.h"
#include "http/reply.h"
#include "http/request.h"
#include "http/server.h"
#include "routes/routes.h"

/* Threads that only refuse; each is held for a request's timeout at most. */
#define SPARE_THREADS 32

/* Files besides those of threads and pool: the log, sockets on their way. */
#define OTHER_FILES 128

/* How late the timekeeper may be. */
#define TICK_US (SECOND_US / 4)

/* How often it looks for places while there are none. */
#define CROWDED_TICK_US (SECOND_US / 20)

/* After a refusal: how much a client may still send to read the answer. */
#define LINGER_US SECOND_US
#define LINGER_BYTES (4 << 20)

/* What a watch's deadline is when there is none, and when it has passed. */
#define NOT_WATCHED 0
#define CUT_OFF INT64_MAX

/* One connection; belongs to the thread that serves it. */
typedef struct Connection
{
	bool refused;			/* beyond the limit */
	atomic_uint keeps_port; /* the peer's; 0: it has not earned its place */
	int socket; /* -1: not looked for yet; set before the first watch */
	WatchKind kind;
	_Atomic int64_t deadline_us; /* the timekeeper changes it to CUT_OFF */

	/* Guarded by the server's mutex. */
	struct Connection *previous;
	struct Connection *next;
} Connection;

struct Server
{
	Gateway *gateway;
	struct mg_context *context;
	pthread_t timekeeper;
	Crowd *crowd;		   /* the timekeeper's */
	char start_error[256]; /* civetweb's first words of a start that failed */
	atomic_bool started;
	atomic_long in_flight; /* requests */
	atomic_bool draining;

	pthread_mutex_t mutex;	/* guards what follows */
	pthread_cond_t changed; /* a first connection comes, or it is the end */
	pthread_cond_t calm;	/* nothing is in flight while draining */
	Connection connections; /* the list's head: all that are open */
	long connection_count;
	bool stopping;
};

static bool start_civetweb(Server *server, Text *error);
static bool raise_file_limit(const Config *config, Text *error);
static long count_files(const Config *config);
static int open_connection(const struct mg_connection *conn, void **data);
static void close_connection(const struct mg_connection *conn);
static int handle_request(struct mg_connection *conn);
static int handle_broken_request(struct mg_connection *conn,
								 int status,
								 const char *message);
static int give_tls(void **context, void *data);
static int log_civetweb(const struct mg_connection *conn, const char *message);
static bool enter_request(Server *server);
static void leave_request(Server *server);
static void finish_request(Request *request);
static void log_request(const Request *request);
static void linger(const Request *request);
static Server *server_of(const struct mg_connection *conn);
static int socket_of(const struct mg_connection *conn);
static int find_socket(const struct mg_request_info *info, long files);
static bool is_peer(int file, const struct mg_request_info *info);
static void *keep_time(void *argument);
static void cut_overdue(Server *server);
static void thin_crowd(Server *server);

Server *
server_start(Gateway *gateway, Text *error)
{
	Server *server = calloc(1, sizeof(*server));
	pthread_condattr_t attributes;

	if (server == NULL)
	{
		text_add_string(error, "out of memory");
		return NULL;
	}
	if (!raise_file_limit(&gateway->config, error))
	{
		free(server);
		return NULL;
	}
	server->gateway = gateway;
	server->connections.next = &server->connections;
	server->connections.previous = &server->connections;
	pthread_mutex_init(&server->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&server->changed, &attributes);
	pthread_cond_init(&server->calm, &attributes);
	pthread_condattr_destroy(&attributes);
	server->crowd = crowd_create(count_files(&gateway->config));
	if (server->crowd == NULL ||
		pthread_create(&server->timekeeper, NULL, keep_time, server) != 0)
	{
		text_add_string(error, "out of memory or threads");
		crowd_free(server->crowd);
		free(server);
		return NULL;
	}
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
		mg_stop(server->context);
	pthread_mutex_lock(&server->mutex);
	server->stopping = true;
	pthread_cond_signal(&server->changed);
	pthread_mutex_unlock(&server->mutex);
	pthread_join(server->timekeeper, NULL);
	pthread_cond_destroy(&server->calm);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->mutex);
	crowd_free(server->crowd);
	free(server);
}

void
server_watch(struct mg_connection *conn, WatchKind kind, int64_t limit_us)
{
	Connection *connection = mg_get_user_connection_data(conn);

	if (connection == NULL || socket_of(conn) < 0)
		return;
	/*
	 * Clients that write headers and body apart wait with the second for an
	 * acknowledgement of the first, which the kernel would hold back for 40 ms.
	 */
	if (kind == WATCH_READING)
		setsockopt(connection->socket,
				   IPPROTO_TCP,
				   TCP_QUICKACK,
				   &(int){1},
				   sizeof(int));
	connection->kind = kind;
	connection->deadline_us = clock_us() + limit_us;
}

bool
server_unwatch(struct mg_connection *conn)
{
	Connection *connection = mg_get_user_connection_data(conn);

	return connection != NULL &&
		   atomic_exchange(&connection->deadline_us, NOT_WATCHED) == CUT_OFF;
}

static bool
start_civetweb(Server *server, Text *error)
{
	const Config *config = &server->gateway->config;
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
	/* Paths are matched as they were sent; there are no files to serve. */
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
			 "%s:%ld%s",
			 config->host,
			 config->port,
			 server->gateway->tls != NULL ? "s" : "");
	for (int i = 0; i < 4; i++)
		snprintf(numbers[i], sizeof(numbers[i]), "%ld", values[i]);
	server->context = mg_start(&callbacks, server, options);
	server->started = true;
	if (server->context == NULL)
		text_addf(error,
				  "failed to bind to %s: %s",
				  address,
				  server->start_error);
	return server->context != NULL;
}

/* Running out of files later would look like clients that hang up. */
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
			  "HTTP_MAX_CONNECTIONS of %ld needs %ld open files, the limit is "
			  "%ld",
			  config->max_connections,
			  (long) needed,
			  (long) limit.rlim_max);
	return false;
}

/* Two for every thread, its connection and its wake-up event, and the rest. */
static long
count_files(const Config *config)
{
	return 2 * (config->max_connections + SPARE_THREADS) + config->pool_max +
		   OTHER_FILES;
}

static int
open_connection(const struct mg_connection *conn, void **data)
{
	Server *server = server_of(conn);
	Metrics *metrics = &server->gateway->metrics;
	Connection *connection = calloc(1, sizeof(*connection));

	*data = connection;
	if (connection == NULL)
		return 0;
	connection->socket = -1;
	pthread_mutex_lock(&server->mutex);
	connection->refused =
		server->connection_count >= server->gateway->config.max_connections;
	connection->next = &server->connections;
	connection->previous = server->connections.previous;
	connection->previous->next = connection;
	server->connections.previous = connection;
	if (server->connection_count++ == 0)
		pthread_cond_signal(&server->changed);
	pthread_mutex_unlock(&server->mutex);
	metrics_add(metrics, METRIC_HTTP_CONNECTIONS, 1);
	if (connection->refused)
		metrics_add(metrics, METRIC_HTTP_CONNECTIONS_REFUSED, 1);
	return 0;
}

/* civetweb closes the socket after this, so no timekeeper can hit another. */
static void
close_connection(const struct mg_connection *conn)
{
	Server *server = server_of(conn);
	Connection *connection = mg_get_user_connection_data(conn);

	if (connection == NULL)
		return;
	pthread_mutex_lock(&server->mutex);
	connection->previous->next = connection->next;
	connection->next->previous = connection->previous;
	server->connection_count--;
	pthread_mutex_unlock(&server->mutex);
	free(connection);
	metrics_add(&server->gateway->metrics, METRIC_HTTP_CONNECTIONS, -1);
}

static int
handle_request(struct mg_connection *conn)
{
	Server *server = server_of(conn);
	Connection *connection = mg_get_user_connection_data(conn);
	bool entered = enter_request(server);
	Request request;
	int status;

	request_open(&request, server->gateway, conn);
	if (connection != NULL)
		connection->keeps_port = (unsigned) request.info->remote_port;
	if (connection == NULL || connection->refused)
	{
		request.close = true;
		reply_unavailable(&request, "too many connections", 1);
	}
	else if (!entered)
	{
		request.close = true;
		reply_unavailable(&request, "gateway is stopping", 1);
	}
	else if (request_is_ambiguous(&request))
	{
		request.close = true;
		reply_error(&request, 400, "request can be read in more than one way");
	}
	else
		routes_dispatch(&request);
	finish_request(&request);
	status = request.reply.status;
	/* Where keys are asked for, who has none is still a stranger. */
	if (connection != NULL && server->gateway->keys != NULL &&
		request.caller.prefix[0] == '\0')
		connection->keeps_port = 0;
	request_close(&request);
	leave_request(server);
	return status;
}

/* What civetweb refuses by itself: requests that are not HTTP. */
static int
handle_broken_request(struct mg_connection *conn,
					  int status,
					  const char *message)
{
	Server *server = server_of(conn);
	Request request;

	(void) message;
	enter_request(server);
	request_open(&request, server->gateway, conn);
	request.close = true;
	request.body_read = false;
	/* What it asked for may not have been read to its end. */
	request.path = "";
	if (status == 404)
		reply_error(&request, 404, "path does not exist");
	else
		reply_error(&request,
					400,
					"request is malformed, incomplete or too large");
	finish_request(&request);
	request_close(&request);
	leave_request(server);
	return 0;
}

/* Called for its one context, and once more, without a place, at the end. */
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
		log_event(&server->gateway->log, LOG_WARN, "civetweb: %s", message);
	return 1;
}

/* Counts it in any case; false if requests are no longer taken. */
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

static void
finish_request(Request *request)
{
	reply_send(request);
	log_request(request);
	if (!request->body_read)
		linger(request);
}

/* No query, no headers but the ids, no body: see log.c. */
static void
log_request(const Request *request)
{
	const char *method = request->info->request_method;
	Text line = {0};
	int status = request->reply.status;

	text_add_string(&line, "\"method\":");
	text_add_json(&line,
				  method != NULL ? method : "-",
				  method != NULL ? strnlen(method, 32) : 1);
	text_add_string(&line, ",\"path\":");
	text_add_json(&line, request->path, strnlen(request->path, 512));
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
	log_members(&request->gateway->log,
				status == 500  ? LOG_ERROR
				: status > 500 ? LOG_WARN
							   : LOG_INFO,
				&line);
	text_free(&line);
}

/*
 * Data that nobody reads makes the kernel reset the connection at its close,
 * and the client may lose the answer that says why. So what still comes is
 * taken for a moment and thrown away.
 */
static void
linger(const Request *request)
{
	int64_t deadline = clock_us() + LINGER_US;
	int socket = socket_of(request->conn);
	char part[4096];
	long taken = 0;

	if (socket < 0)
		return;
	shutdown(socket, SHUT_WR);
	while (taken < LINGER_BYTES)
	{
		struct pollfd ready = {.fd = socket, .events = POLLIN};
		int64_t left = deadline - clock_us();
		ssize_t got;

		if (left <= 0 || poll(&ready, 1, (int) (left / 1000 + 1)) <= 0)
			return;
		got = recv(socket, part, sizeof(part), MSG_DONTWAIT);
		if (got <= 0)
			return;
		taken += got;
	}
}

static Server *
server_of(const struct mg_connection *conn)
{
	return mg_get_user_data(mg_get_context(conn));
}

/* The socket of a connection whose request has begun, or -1. */
static int
socket_of(const struct mg_connection *conn)
{
	Server *server = server_of(conn);
	Connection *connection = mg_get_user_connection_data(conn);

	if (connection == NULL)
		return -1;
	if (connection->socket < 0)
		connection->socket = find_socket(mg_get_request_info(conn),
										 count_files(&server->gateway->config));
	if (connection->socket < 0)
		log_event(&server->gateway->log, LOG_ERROR, "socket not found");
	return connection->socket;
}

/*
 * The kernel gives out the lowest free number, so the search is bounded by
 * the number of files that can be open. Two connections to one port differ in
 * their peers' addresses.
 */
static int
find_socket(const struct mg_request_info *info, long files)
{
	for (int file = 3; file < files; file++)
	{
		if (is_peer(file, info))
			return file;
	}
	return -1;
}

static bool
is_peer(int file, const struct mg_request_info *info)
{
	struct sockaddr_in peer;
	struct sockaddr_in own;
	socklen_t peer_length = sizeof(peer);
	socklen_t own_length = sizeof(own);
	char address[INET_ADDRSTRLEN];

	return getpeername(file, (struct sockaddr *) &peer, &peer_length) == 0 &&
		   peer.sin_family == AF_INET &&
		   ntohs(peer.sin_port) == info->remote_port &&
		   getsockname(file, (struct sockaddr *) &own, &own_length) == 0 &&
		   ntohs(own.sin_port) == info->server_port &&
		   inet_ntop(AF_INET, &peer.sin_addr, address, sizeof(address)) &&
		   strcmp(address, info->remote_addr) == 0;
}

static void *
keep_time(void *argument)
{
	Server *server = argument;

	pthread_mutex_lock(&server->mutex);
	while (!server->stopping)
	{
		bool crowded =
			server->connection_count >= server->gateway->config.max_connections;
		struct timespec until =
			clock_timespec(clock_us() + (crowded ? CROWDED_TICK_US : TICK_US));

		if (server->connection_count == 0)
			pthread_cond_wait(&server->changed, &server->mutex);
		else
			pthread_cond_timedwait(&server->changed, &server->mutex, &until);
		cut_overdue(server);
		if (crowded)
			thin_crowd(server);
	}
	pthread_mutex_unlock(&server->mutex);
	return NULL;
}

static void
cut_overdue(Server *server)
{
	int64_t now = clock_us();

	for (Connection *connection = server->connections.next;
		 connection != &server->connections;
		 connection = connection->next)
	{
		int64_t deadline_us = connection->deadline_us;

		/* Its thread may take the watch off at this very moment. */
		if (deadline_us != NOT_WATCHED && deadline_us <= now &&
			atomic_compare_exchange_strong(&connection->deadline_us,
										   &deadline_us,
										   CUT_OFF))
			shutdown(connection->socket,
					 connection->kind == WATCH_READING ? SHUT_RD : SHUT_RDWR);
	}
}

/* The mutex is held. */
static void
thin_crowd(Server *server)
{
	CrowdPorts kept = {0};

	for (const Connection *connection = server->connections.next;
		 connection != &server->connections;
		 connection = connection->next)
	{
		if (connection->keeps_port != 0)
			crowd_keep(&kept, connection->keeps_port);
	}
	crowd_thin(server->crowd, (unsigned) server->gateway->config.port, &kept);
}

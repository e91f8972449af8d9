/*
 * connections.c: the open HTTP connections, how many there may be, and how long
 * a client may take.
 *
 * civetweb bounds the time for headers, but not the time for a body or for an
 * answer: a client that sends or receives byte by byte could hold its thread
 * forever, and civetweb reads the body of a refused request to the end. So a
 * thread, the timekeeper, shuts down connections that exceed their time limit.
 * It needs their sockets, which civetweb does not reveal: they are found by
 * their addresses, once for each connection that needs it.
 *
 * When the limit of connections is reached, the timekeeper also closes those
 * on which no request has arrived (crowd.c), and those whose body does not
 * arrive at a reasonable speed.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <civetweb.h>

#include "clock.h"
#include "http/connections.h"
#include "http/crowd.h"
#include "http/wire.h"

/* The timekeeper's period: how late a connection may be shut down. */
#define TICK_US (SECOND_US / 4)

/* The same while the limit of connections is reached. */
#define CROWDED_TICK_US (SECOND_US / 20)

/* While the limit of connections is reached: time for a body, and its speed. */
#define CROWDED_READ_US SECOND_US
#define CROWDED_BYTES_PER_SECOND 65536

/*
 * After a refusal: how much a client may still send. Closing with unread bytes
 * resets the connection, and a client that still sends never sees the answer:
 * a body of 5 MB against a bound of 4 MB got its 413 only by chance.
 */
#define LINGER_US SECOND_US
#define LINGER_BYTES (16 << 20)

/* Values of a deadline: none, and exceeded. */
#define NOT_WATCHED 0
#define CUT_OFF INT64_MAX

/* Belongs to the thread that serves the connection. */
struct Connection
{
	Connections *all;
	const struct mg_connection *conn;
	bool refused;			/* exceeds the limit */
	atomic_uint keeps_port; /* the peer's port; 0: not protected */
	int socket; /* -1: not looked for yet; set before the first watch */
	WatchKind kind;
	sem_t idle; /* 1: no request is being answered */
	Request request;
	_Atomic int64_t deadline_us; /* the timekeeper changes it to CUT_OFF */
	_Atomic int64_t crowded_us;	 /* the same while there are too many */

	/* Guarded by the mutex of Connections. */
	Connection *previous;
	Connection *next;
};

struct Connections
{
	const Config *config;
	Log *log;
	Metrics *metrics;
	long files;
	pthread_t timekeeper;
	Crowd *crowd; /* used by the timekeeper only */

	pthread_mutex_t mutex;	/* guards the members below */
	pthread_cond_t changed; /* the first connection opens, or we stop */
	Connection head;		/* of the list of all open connections */
	long count;
	bool stopping;
};

static int socket_of(Connection *connection);
static int find_socket(const struct mg_request_info *info, long files);
static bool is_peer(int file, const struct mg_request_info *info);
static bool has_port(int file, unsigned port);
static void *keep_time(void *argument);
static void cut_overdue(Connections *connections, bool crowded);
static void thin_crowd(Connections *connections);

Connections *
connections_create(const Config *config, Log *log, Metrics *metrics, long files)
{
	Connections *connections = calloc(1, sizeof(*connections));

	if (connections == NULL)
		return NULL;
	connections->config = config;
	connections->log = log;
	connections->metrics = metrics;
	connections->files = files;
	connections->head.next = &connections->head;
	connections->head.previous = &connections->head;
	pthread_mutex_init(&connections->mutex, NULL);
	clock_init_condition(&connections->changed);
	connections->crowd = crowd_create(files);
	if (connections->crowd != NULL && pthread_create(&connections->timekeeper,
													 NULL,
													 keep_time,
													 connections) == 0)
		return connections;
	crowd_free(connections->crowd);
	free(connections);
	return NULL;
}

void
connections_free(Connections *connections)
{
	pthread_mutex_lock(&connections->mutex);
	connections->stopping = true;
	pthread_cond_signal(&connections->changed);
	pthread_mutex_unlock(&connections->mutex);
	pthread_join(connections->timekeeper, NULL);
	pthread_cond_destroy(&connections->changed);
	pthread_mutex_destroy(&connections->mutex);
	crowd_free(connections->crowd);
	free(connections);
}

/*
 * civetweb looks whether it shall stop only when a wait for input ends, every
 * two seconds. As in crowd.c, a file is checked and shut down by a duplicate.
 */
void
connections_end_input(Connections *connections)
{
	for (int file = 3; file < connections->files; file++)
	{
		int second = fcntl(file, F_DUPFD_CLOEXEC, 3);

		if (second < 0)
			continue;
		if (has_port(second, (unsigned) connections->config->port))
			shutdown(second, SHUT_RD);
		close(second);
	}
}

Connection *
connections_add(Connections *connections, const struct mg_connection *conn)
{
	Connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL)
		return NULL;
	connection->all = connections;
	connection->conn = conn;
	connection->socket = -1;
	sem_init(&connection->idle, 0, 1);
	pthread_mutex_lock(&connections->mutex);
	connection->refused =
		connections->count >= connections->config->max_connections;
	connection->next = &connections->head;
	connection->previous = connections->head.previous;
	connection->previous->next = connection;
	connections->head.previous = connection;
	if (connections->count++ == 0)
		pthread_cond_signal(&connections->changed);
	pthread_mutex_unlock(&connections->mutex);
	metrics_add(connections->metrics, METRIC_HTTP_CONNECTIONS, 1);
	if (connection->refused)
		metrics_add(connections->metrics, METRIC_HTTP_CONNECTIONS_REFUSED, 1);
	return connection;
}

/*
 * Waits until the last request is answered. The socket is still open, so the
 * timekeeper, which holds the mutex, cannot
 * shut down another connection that got the same file number.
 */
void
connections_remove(Connection *connection)
{
	Connections *connections = connection->all;

	connection_begin(connection);
	pthread_mutex_lock(&connections->mutex);
	connection->previous->next = connection->next;
	connection->next->previous = connection->previous;
	connections->count--;
	pthread_mutex_unlock(&connections->mutex);
	sem_destroy(&connection->idle);
	free(connection);
	metrics_add(connections->metrics, METRIC_HTTP_CONNECTIONS, -1);
}

bool
connection_is_refused(const Connection *connection)
{
	return connection->refused;
}

Request *
connection_begin(Connection *connection)
{
	while (sem_wait(&connection->idle) != 0)
		continue;
	return &connection->request;
}

void
connection_end(Connection *connection)
{
	sem_post(&connection->idle);
}

bool
connection_can_send(Connection *connection)
{
	return socket_of(connection) >= 0;
}

void
connection_send(Connection *connection, const Text *answer)
{
	if (answer->failed ||
		send(connection->socket,
			 answer->data,
			 answer->length,
			 MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) answer->length)
		shutdown(connection->socket, SHUT_RDWR);
}

int
connection_give_away(Connection *connection)
{
	int file = socket_of(connection) >= 0
				   ? fcntl(connection->socket, F_DUPFD_CLOEXEC, 3)
				   : -1;

	if (file >= 0)
		wire_give_away();
	return file;
}

void
connection_protect(Connection *connection, unsigned peer_port)
{
	connection->keeps_port = peer_port;
}

void
connection_expose(Connection *connection)
{
	connection->keeps_port = 0;
}

void
connection_watch(Connection *connection, WatchKind kind, int64_t limit_us)
{
	if (connection == NULL || socket_of(connection) < 0)
		return;
	/*
	 * Clients that write headers and body separately wait for the headers'
	 * acknowledgement first, which the kernel would delay by 40 ms.
	 */
	if (kind == WATCH_READING)
		setsockopt(connection->socket,
				   IPPROTO_TCP,
				   TCP_QUICKACK,
				   &(int){1},
				   sizeof(int));
	connection->kind = kind;
	connection->crowded_us =
		kind == WATCH_READING ? clock_us() + CROWDED_READ_US : CUT_OFF;
	connection->deadline_us = clock_us() + limit_us;
}

void
connection_advance(Connection *connection, size_t bytes)
{
	if (connection != NULL)
		connection->crowded_us +=
			(int64_t) bytes * SECOND_US / CROWDED_BYTES_PER_SECOND;
}

bool
connection_unwatch(Connection *connection)
{
	return connection != NULL &&
		   atomic_exchange(&connection->deadline_us, NOT_WATCHED) == CUT_OFF;
}

void
connection_linger(Connection *connection)
{
	int64_t deadline = clock_us() + LINGER_US;
	int socket = connection != NULL ? socket_of(connection) : -1;
	char part[16384];
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

/* The socket of a connection that has sent a request, or -1. */
static int
socket_of(Connection *connection)
{
	if (connection->socket < 0)
		connection->socket = find_socket(mg_get_request_info(connection->conn),
										 connection->all->files);
	if (connection->socket < 0)
		log_event(connection->all->log,
				  LOG_ERROR,
				  "could not find a connection's socket; its time limits do "
				  "not apply");
	return connection->socket;
}

/*
 * The kernel assigns the lowest free number, so the number of files that can
 * be open bounds the search. Two connections to one port differ in their
 * peers' addresses.
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

/* The socket that listens has it, too. */
static bool
has_port(int file, unsigned port)
{
	struct sockaddr_in own;
	socklen_t length = sizeof(own);

	return getsockname(file, (struct sockaddr *) &own, &length) == 0 &&
		   own.sin_family == AF_INET && ntohs(own.sin_port) == port;
}

static void *
keep_time(void *argument)
{
	Connections *connections = argument;

	pthread_mutex_lock(&connections->mutex);
	while (!connections->stopping)
	{
		bool crowded =
			connections->count >= connections->config->max_connections;
		struct timespec until =
			clock_timespec(clock_us() + (crowded ? CROWDED_TICK_US : TICK_US));

		if (connections->count == 0)
			pthread_cond_wait(&connections->changed, &connections->mutex);
		else
			pthread_cond_timedwait(&connections->changed,
								   &connections->mutex,
								   &until);
		cut_overdue(connections, crowded);
		if (crowded)
			thin_crowd(connections);
	}
	pthread_mutex_unlock(&connections->mutex);
	return NULL;
}

/* The caller holds the mutex. */
static void
cut_overdue(Connections *connections, bool crowded)
{
	int64_t now = clock_us();

	for (Connection *connection = connections->head.next;
		 connection != &connections->head;
		 connection = connection->next)
	{
		int64_t deadline_us = connection->deadline_us;

		/* The exchange fails if its thread unwatches it meanwhile. */
		if (deadline_us != NOT_WATCHED &&
			(deadline_us <= now ||
			 (crowded && connection->crowded_us <= now)) &&
			atomic_compare_exchange_strong(&connection->deadline_us,
										   &deadline_us,
										   CUT_OFF))
			shutdown(connection->socket,
					 connection->kind == WATCH_READING ? SHUT_RD : SHUT_RDWR);
	}
}

/* The caller holds the mutex. */
static void
thin_crowd(Connections *connections)
{
	CrowdPorts kept = {0};

	for (const Connection *connection = connections->head.next;
		 connection != &connections->head;
		 connection = connection->next)
	{
		if (connection->keeps_port != 0)
			crowd_keep(&kept, connection->keeps_port);
	}
	crowd_thin(connections->crowd, (unsigned) connections->config->port, &kept);
}

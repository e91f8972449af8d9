/*
 * crowd.c: closes connections without a request when there are too many.
 *
 * civetweb gives a thread to a connection as soon as it is accepted, but
 * reports it only after its first request. Thousands of connections that send
 * nothing, or a header byte by byte, could hold all threads until the request
 * timeout, again and again. So while the limit of connections is reached, the
 * process searches its own files for connections to its port from which no
 * request has arrived.
 *
 * The files belong to civetweb, which may close one at any moment and open
 * another with the same number. So the file is duplicated and checked again
 * before it is shut down through the duplicate.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "http/crowd.h"

/* Time for a request to arrive. */
#define GRACE_US (SECOND_US / 5)

/* The connection that was last seen under a file number. */
typedef struct Seen
{
	struct sockaddr_in peer;
	int64_t since_us; /* 0: none */
} Seen;

struct Crowd
{
	long files;
	Seen seen[];
};

static bool get_peer(int file, unsigned port, struct sockaddr_in *peer);
static bool is_same(const struct sockaddr_in *a, const struct sockaddr_in *b);
static void shut_down(int file, unsigned port, const struct sockaddr_in *peer);

Crowd *
crowd_create(long files)
{
	Crowd *crowd =
		calloc(1, sizeof(*crowd) + (size_t) files * sizeof(crowd->seen[0]));

	if (crowd != NULL)
		crowd->files = files;
	return crowd;
}

void
crowd_free(Crowd *crowd)
{
	free(crowd);
}

void
crowd_thin(Crowd *crowd, unsigned port, const CrowdPorts *kept)
{
	int64_t now = clock_us();

	for (int file = 3; file < crowd->files; file++)
	{
		Seen *seen = &crowd->seen[file];
		struct sockaddr_in peer;
		unsigned from;

		if (!get_peer(file, port, &peer))
		{
			seen->since_us = 0;
			continue;
		}
		from = ntohs(peer.sin_port);
		if (seen->since_us == 0 || !is_same(&seen->peer, &peer))
			*seen = (Seen){peer, now};
		else if (now - seen->since_us >= GRACE_US &&
				 (kept->bits[from / 8] >> from % 8 & 1) == 0)
			shut_down(file, port, &peer);
	}
}

/* Returns false if the file is not a connection to that port. */
static bool
get_peer(int file, unsigned port, struct sockaddr_in *peer)
{
	struct sockaddr_in own;
	socklen_t own_length = sizeof(own);
	socklen_t peer_length = sizeof(*peer);

	return getsockname(file, (struct sockaddr *) &own, &own_length) == 0 &&
		   own.sin_family == AF_INET && ntohs(own.sin_port) == port &&
		   getpeername(file, (struct sockaddr *) peer, &peer_length) == 0;
}

static bool
is_same(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
	return a->sin_port == b->sin_port &&
		   a->sin_addr.s_addr == b->sin_addr.s_addr;
}

static void
shut_down(int file, unsigned port, const struct sockaddr_in *peer)
{
	struct sockaddr_in now;
	int second = dup(file);

	if (second < 0)
		return;
	if (get_peer(second, port, &now) && is_same(&now, peer))
		shutdown(second, SHUT_RDWR);
	close(second);
}

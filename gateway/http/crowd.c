/*
 * crowd.c: hangs up on who only takes a place, when there are too many.
 *
 * civetweb tells of a connection when its first request has come, and gives a
 * thread to it long before: thousands of connections on which nothing comes,
 * or a header byte by byte, would hold all threads for a request's timeout,
 * one lot after the other. So while all places are taken, the process looks
 * through its own files for such connections. They are known by what they are
 * not: connections to our port from which no request has come.
 *
 * Their files belong to civetweb, which may close one at any moment, and the
 * next file gets its number. Therefore a second descriptor is made first, and
 * looked at again: what is ended through it is what was seen.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "http/crowd.h"

/* A client whose request is on its way is not sent away. */
#define GRACE_US (SECOND_US / 5)

/* A connection that was seen at the file of this number. */
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
static void hang_up(int file, unsigned port, const struct sockaddr_in *peer);

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
			hang_up(file, port, &peer);
	}
}

/* False if it is no connection to that port. */
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
hang_up(int file, unsigned port, const struct sockaddr_in *peer)
{
	struct sockaddr_in now;
	int second = dup(file);

	if (second < 0)
		return;
	if (get_peer(second, port, &now) && is_same(&now, peer))
		shutdown(second, SHUT_RDWR);
	close(second);
}

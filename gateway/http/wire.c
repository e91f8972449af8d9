/*
 * wire.c: lets civetweb read requests through stream.c.
 *
 * civetweb has no hook for this, so the program contains the functions that it
 * reads with, recv() and SSL_read(), under their own names: the dynamic linker
 * takes those of the program. Other callers in the process, for example libpq,
 * get them as well, but outside of civetweb's reading they only pass the call
 * on. For the same reason the state belongs to the thread: there is nothing
 * else to find it by.
 *
 * A connection can be given away while civetweb closes it: then shutdown(),
 * which civetweb calls before it closes its own file, does nothing.
 *
 * If a civetweb reads in another way, requests are read as civetweb can:
 * wire_is_at_end then tells that the connection must be closed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <openssl/ssl.h>

#include "clock.h"
#include "http/stream.h"
#include "http/wire.h"

/*
 * A call waits for more if all that it has read is left out. A body has a time
 * limit of its own (connections.c); in a head only one byte can be left out.
 */
#define WAIT_US (10 * SECOND_US)

typedef struct Wire
{
	Stream stream;
	uint64_t requests; /* that civetweb has begun to read */
	bool open;
	bool tls;
	bool paused;
	bool given_away; /* until the next connection */
} Wire;

/* Other names, because the header can define recv() as a macro or inline. */
ssize_t
wire_recv(int file, void *buffer, size_t size, int flags) __asm__("recv");
int wire_ssl_read(SSL *ssl, void *buffer, int size) __asm__("SSL_read");
int wire_shutdown(int file, int how) __asm__("shutdown");

static bool is_reading(bool tls, size_t size);
static bool await_more(int file, int64_t until_us);
static void find_replaced(void);

static _Thread_local Wire wire;

static pthread_once_t replaced_once = PTHREAD_ONCE_INIT;
static int (*ssl_read)(SSL *ssl, void *buffer, int size);
static int (*real_shutdown)(int file, int how);

void
wire_open(bool tls)
{
	wire = (Wire){.open = true, .tls = tls};
}

void
wire_close(void)
{
	wire.open = false;
}

void
wire_pause(void)
{
	wire.paused = true;
}

void
wire_resume(void)
{
	wire.paused = false;
}

void
wire_next_request(void)
{
	wire.requests++;
}

void
wire_give_away(void)
{
	wire.given_away = true;
}

bool
wire_is_at_end(void)
{
	return wire.open && wire.stream.messages >= wire.requests;
}

ssize_t
wire_recv(int file, void *buffer, size_t size, int flags)
{
	int64_t until_us = 0;

	if (!is_reading(false, size))
		return recvfrom(file, buffer, size, flags, NULL, NULL);
	for (;;)
	{
		size_t room = wire.stream.held ? 1 : 0;
		char *in = (char *) buffer + room;
		ssize_t got = recvfrom(file, in, size - room, flags, NULL, NULL);

		if (got == 0)
			return 0;
		if (got > 0)
			got = (ssize_t)
				stream_rewrite(&wire.stream, buffer, in, (size_t) got);
		else if (until_us == 0 || (errno != EAGAIN && errno != EINTR))
			return got;
		if (got > 0)
			return got;
		if (until_us == 0)
			until_us = clock_us() + WAIT_US;
		if (!await_more(file, until_us))
			return 0;
	}
}

int
wire_shutdown(int file, int how)
{
	if (wire.given_away)
		return 0;
	pthread_once(&replaced_once, find_replaced);
	return real_shutdown(file, how);
}

int
wire_ssl_read(SSL *ssl, void *buffer, int size)
{
	int64_t until_us = 0;

	pthread_once(&replaced_once, find_replaced);
	if (!is_reading(true, (size_t) size))
		return ssl_read(ssl, buffer, size);
	for (;;)
	{
		int room = wire.stream.held ? 1 : 0;
		char *in = (char *) buffer + room;
		int got = ssl_read(ssl, in, size - room);

		if (got > 0)
			got = (int) stream_rewrite(&wire.stream, buffer, in, (size_t) got);
		else if (until_us == 0 ||
				 SSL_get_error(ssl, got) != SSL_ERROR_WANT_READ)
			return got;
		if (got > 0)
			return got;
		if (until_us == 0)
			until_us = clock_us() + WAIT_US;
		if (SSL_pending(ssl) == 0 && !await_more(SSL_get_fd(ssl), until_us))
			return -1;
	}
}

static bool
is_reading(bool tls, size_t size)
{
	if (!wire.open || wire.paused || wire.tls != tls)
		return false;
	/* No room for the byte that may have to be made up for: give up. */
	wire.open = !wire.stream.held || size > 1;
	return wire.open;
}

static bool
await_more(int file, int64_t until_us)
{
	struct pollfd ready = {.fd = file, .events = POLLIN};
	int64_t left = until_us - clock_us();

	return left > 0 && poll(&ready, 1, (int) (left / 1000 + 1)) != 0;
}

static void
find_replaced(void)
{
	*(void **) &ssl_read = dlsym(RTLD_NEXT, "SSL_read");
	*(void **) &real_shutdown = dlsym(RTLD_NEXT, "shutdown");
}

/*
 * listener.c: a client that follows changes: what it wants to know, and what it
 * has not read yet.
 *
 * Nothing waits for a client. What its socket does not accept is kept, up to a
 * limit, and a client that exceeds it is lost: it comes back and continues
 * after the last change that it got.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "live/listener.h"

/* Unread bytes of a client, besides those in its socket's buffer. */
#define PENDING_MAX 262144

/* The socket's buffer; the kernel's grows to megabytes for each client. */
#define SEND_BUFFER 65536

static void send_pending(Listener *listener);

Listener *
listener_create(int socket)
{
	Listener *listener = calloc(1, sizeof(*listener));

	if (listener == NULL)
		return NULL;
	listener->socket = socket;
	listener->owners = socket < 0 ? 2 : 1;
	pthread_mutex_init(&listener->mutex, NULL);
	pthread_cond_init(&listener->changed, NULL);
	if (socket >= 0)
		setsockopt(socket,
				   SOL_SOCKET,
				   SO_SNDBUF,
				   &(int){SEND_BUFFER},
				   sizeof(int));
	return listener;
}

void
listener_release(Listener *listener)
{
	bool last;

	pthread_mutex_lock(&listener->mutex);
	last = --listener->owners == 0;
	pthread_mutex_unlock(&listener->mutex);
	if (!last)
		return;
	if (listener->socket >= 0)
		close(listener->socket);
	text_free(&listener->head);
	text_free(&listener->pending);
	text_free(&listener->news);
	free(listener->after);
	explicit_bzero(listener->key, sizeof(listener->key));
	pthread_mutex_destroy(&listener->mutex);
	pthread_cond_destroy(&listener->changed);
	free(listener);
}

ChangeKind
listener_kind(const char *name, size_t length)
{
	static const struct
	{
		const char *name;
		ChangeKind kind;
	} kinds[] = {{"message", CHANGE_MESSAGE},
				 {"status", CHANGE_STATUS},
				 {"conversation", CHANGE_CONVERSATION},
				 {"dead_letter", CHANGE_DEAD_LETTER},
				 {"operation", CHANGE_OPERATION},
				 {"reset", CHANGE_RESET}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		if (strlen(kinds[i].name) == length &&
			memcmp(kinds[i].name, name, length) == 0)
			return kinds[i].kind;
	}
	return 0;
}

bool
listener_wants(const Listener *listener, const Change *change)
{
	const Filter *filter = &listener->filter;

	if (change->kind == CHANGE_RESET)
		return true;
	return (filter->kinds == 0 || (filter->kinds & change->kind) != 0) &&
		   (filter->conversation[0] == '\0' ||
			strcmp(filter->conversation, change->conversation) == 0) &&
		   (filter->channel[0] == '\0' ||
			strcmp(filter->channel, change->channel) == 0);
}

void
listener_write(Listener *listener, const Text *bytes)
{
	pthread_mutex_lock(&listener->mutex);
	if (!listener->ended && !listener->lost)
	{
		if (listener->pending.length == 0)
			listener->written_us = clock_us();
		text_add(&listener->pending, bytes->data, bytes->length);
		listener->told_us = clock_us();
		if (listener->socket >= 0)
			send_pending(listener);
		listener->slow =
			listener->pending.length - listener->sent > PENDING_MAX;
		listener->lost |=
			listener->slow || bytes->failed || listener->pending.failed;
		pthread_cond_signal(&listener->changed);
	}
	pthread_mutex_unlock(&listener->mutex);
}

void
listener_flush(Listener *listener)
{
	char unexpected[512];
	ssize_t got;

	if (listener->socket < 0)
		return;
	pthread_mutex_lock(&listener->mutex);
	send_pending(listener);
	/* A client has nothing to say until it closes. */
	got = recv(listener->socket, unexpected, sizeof(unexpected), MSG_DONTWAIT);
	listener->lost |=
		got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
	pthread_mutex_unlock(&listener->mutex);
}

void
listener_end(Listener *listener)
{
	pthread_mutex_lock(&listener->mutex);
	listener->ended = true;
	pthread_cond_signal(&listener->changed);
	pthread_mutex_unlock(&listener->mutex);
}

bool
listener_has_pending(Listener *listener)
{
	bool pending;

	pthread_mutex_lock(&listener->mutex);
	pending = listener->pending.length > 0;
	pthread_mutex_unlock(&listener->mutex);
	return pending;
}

bool
listener_is_done(Listener *listener)
{
	bool done;

	pthread_mutex_lock(&listener->mutex);
	done = listener->lost || (listener->ended && listener->pending.length == 0);
	pthread_mutex_unlock(&listener->mutex);
	return done;
}

bool
listener_take(Listener *listener, Text *out)
{
	bool more;

	pthread_mutex_lock(&listener->mutex);
	while (listener->pending.length == 0 && !listener->ended && !listener->lost)
		pthread_cond_wait(&listener->changed, &listener->mutex);
	more = listener->pending.length > 0 && !listener->lost;
	*out = listener->pending;
	memset(&listener->pending, 0, sizeof(listener->pending));
	pthread_mutex_unlock(&listener->mutex);
	return more;
}

void
listener_lose(Listener *listener)
{
	pthread_mutex_lock(&listener->mutex);
	listener->lost = true;
	pthread_cond_signal(&listener->changed);
	pthread_mutex_unlock(&listener->mutex);
}

/* The caller holds the mutex. */
static void
send_pending(Listener *listener)
{
	Text *pending = &listener->pending;

	while (listener->sent < pending->length)
	{
		ssize_t sent = send(listener->socket,
							pending->data + listener->sent,
							pending->length - listener->sent,
							MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0)
		{
			listener->lost |= errno != EAGAIN && errno != EINTR;
			return;
		}
		listener->sent += (size_t) sent;
		listener->written_us = clock_us();
	}
	listener->sent = 0;
	text_free(pending);
}

/*
 * listener.h: a client that follows changes.
 */
#ifndef LISTENER_H
#define LISTENER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "caller.h"
#include "text.h"

#define CHANNEL_MAX 64
#define UUID_MAX 36

/* Kinds of changes; a set of kinds is their sum. */
typedef enum ChangeKind
{
	CHANGE_MESSAGE = 1,
	CHANGE_STATUS = 2,
	CHANGE_CONVERSATION = 4,
	CHANGE_DEAD_LETTER = 8,
	CHANGE_OPERATION = 16,
	CHANGE_RESET = 32 /* told to everybody */
} ChangeKind;

/* What a listener wants to be told; all zeros: everything. */
typedef struct Filter
{
	unsigned kinds;					 /* 0: all */
	char conversation[UUID_MAX + 1]; /* "": all */
	char channel[CHANNEL_MAX + 1];	 /* "": all */
} Filter;

typedef struct Change
{
	ChangeKind kind;
	const char *conversation; /* "": none, as channel */
	const char *channel;
	const char *json;
} Change;

typedef struct Listener
{
	bool stream; /* server-sent events; otherwise one answer, then the end */
	char tenant[TENANT_MAX + 1]; /* "": all that the database role sees */
	char key[KEY_MAX + 1];		 /* checked again from time to time; "": none */
	Filter filter;
	char place[16];		 /* before each position; "": outside of a cluster */
	char *after;		 /* where to begin; NULL: now */
	Text head;			 /* of the answer, without its end */
	int64_t deadline_us; /* of an answer */

	/* Of the feed's thread. */
	bool greeted; /* with its position */
	bool joined;
	int64_t written_us; /* when something was last accepted by the client */
	int64_t told_us;	/* when something was last added for it */
	int64_t checked_us; /* the key */
	Text news;			/* of the group that is being told: see tell.c */
	struct Listener *next;
	struct Listener *next_told;

	/* The client: a socket, or a thread that takes what is pending. */
	int socket;			   /* -1: a thread */
	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t changed;
	Text pending;
	size_t sent; /* of pending */
	bool ended;	 /* nothing more is added */
	bool slow;	 /* the client does not read */
	bool lost;	 /* for this reason or another one */
	int owners;
} Listener;

/* Owned by the feed; by a thread as well if there is no socket. */
Listener *listener_create(int socket);
void listener_release(Listener *listener);

/* The bit of a kind's name, or 0. */
ChangeKind listener_kind(const char *name, size_t length);

bool listener_wants(const Listener *listener, const Change *change);

/*
 * Adds bytes for the client, and sends what it accepts. A client that leaves
 * too much unread is lost.
 */
void listener_write(Listener *listener, const Text *bytes);

/* Sends what the client accepts now, and finds out whether it has gone. */
void listener_flush(Listener *listener);

/* Ends after what is pending. */
void listener_end(Listener *listener);

/* Whether the client has not accepted all bytes yet. */
bool listener_has_pending(Listener *listener);

/* True once nothing is left to do for it. */
bool listener_is_done(Listener *listener);

/*
 * For the thread of a client without a socket: waits for bytes and moves them
 * to out. Returns false at the end.
 */
bool listener_take(Listener *listener, Text *out);

/* The thread could not write. */
void listener_lose(Listener *listener);

#endif /* LISTENER_H */

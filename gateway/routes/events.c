/*
 * events.c: following changes: server-sent events, or one answer for each
 * request.
 *
 * The connection is given to the feed, which serves all of them from one
 * thread. With TLS its thread stays, because only civetweb can write to it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "config/config.h"
#include "gateway.h"
#include "guard/auth.h"
#include "http/connections.h"
#include "http/headers.h"
#include "http/parameters.h"
#include "http/reply.h"
#include "live/feeds.h"
#include "routes/call.h"
#include "routes/handlers.h"

/* How long a request without changes waits: seconds. */
#define WAIT_SECS 25
#define WAIT_SECS_MAX 60

/* A client with TLS may take so long to receive what was written. */
#define WRITE_US (30 * SECOND_US)

/*
 * Transactions are numbered by each server, so a position of another slot could
 * be one here. This one is in nobody's history: the client gets a reset.
 */
#define UNKNOWN_POSITION "1:1:"

static const char find_sql[] = "SELECT msgstore._conversation_id($1)";

/* What the request asks for. */
typedef struct Wish
{
	bool stream;
	char after[CURSOR_MAX + 1];
	bool has_after;
	int slot; /* that "after" is of; -1: outside of a cluster */
	int wait_secs;
	Filter filter;
} Wish;

static bool read_wish(Request *request, Wish *wish);
static bool read_position(Request *request, Wish *wish);
static const char *take_slot(Wish *wish);
static bool is_position(const char *text);
static bool
read_number(const char **text, char end, unsigned long long *number);
static bool read_kinds(Request *request, unsigned *kinds);
static bool find_conversation(Request *request, const char *given, char *id);
static Feed *find_feed(Request *request, const ClusterSlot **slot);
static Listener *make_listener(Request *request,
							   const Wish *wish,
							   const ClusterSlot *slot,
							   int socket);
static void serve(Request *request, Listener *listener);

void
get_events(Request *request)
{
	bool threaded = request->gateway->tls != NULL;
	const ClusterSlot *slot = NULL;
	Feed *feed = find_feed(request, &slot);
	Listener *listener;
	Wish wish = {.wait_secs = WAIT_SECS};
	int socket = -1;

	if (!read_wish(request, &wish))
		return;
	if (request_is_head(request))
	{
		Text nothing = {0};

		reply_body(request,
				   200,
				   wish.stream ? "text/event-stream" : NULL,
				   &nothing);
		return;
	}
	if (feed != NULL && feed_is_routed(feed))
	{
		reply_unavailable(request,
						  "changes are only told by the slots of a cluster: "
						  "use DIRECT_SLOTS_ENABLED and a tenant's key",
						  60);
		return;
	}
	if (feed == NULL || feed_is_full(feed))
	{
		reply_unavailable(request, "too many listeners", 5);
		return;
	}
	if (!threaded && request->connection != NULL)
		socket = connection_give_away(request->connection);
	listener = threaded || socket >= 0
				   ? make_listener(request, &wish, slot, socket)
				   : NULL;
	if (listener == NULL || !feed_add(feed, listener))
	{
		/* The feed filled up meanwhile, or memory is short. */
		if (listener != NULL)
			listener_release(listener);
		if (listener != NULL && threaded)
			listener_release(listener);
		reply_unavailable(request, "too many listeners", 5);
		return;
	}
	request->given_away = true;
	if (threaded)
		serve(request, listener);
}

static bool
read_wish(Request *request, Wish *wish)
{
	static const char *const timeout_names[] = {"timeout", NULL};
	char conversation[CURSOR_MAX + 1];
	bool has_conversation;
	bool has_channel;
	bool exact;

	wish->stream =
		request_accepts(request, "text/event-stream", &exact) > 0 && exact;
	if (!read_position(request, wish) ||
		!request_query_number(request, timeout_names, &wish->wait_secs) ||
		!read_kinds(request, &wish->filter.kinds) ||
		!request_query_text(request,
							"channel",
							wish->filter.channel,
							sizeof(wish->filter.channel),
							&has_channel) ||
		!request_query_text(request,
							"conversation",
							conversation,
							sizeof(conversation),
							&has_conversation))
		return false;
	if (wish->wait_secs < 0 || wish->wait_secs > WAIT_SECS_MAX)
	{
		reply_error(request, 400, "parameter \"timeout\" must be from 0 to 60");
		return false;
	}
	return !has_conversation ||
		   find_conversation(request, conversation, wish->filter.conversation);
}

/* A client that comes back says in a header where it was. */
static bool
read_position(Request *request, Wish *wish)
{
	const char *last = request_header(request, "Last-Event-ID");

	if (!request_query_text(request,
							"after",
							wish->after,
							sizeof(wish->after),
							&wish->has_after))
		return false;
	if (last != NULL && *last != '\0' && strlen(last) <= CURSOR_MAX)
	{
		snprintf(wish->after, sizeof(wish->after), "%s", last);
		wish->has_after = true;
	}
	if (!wish->has_after || is_position(take_slot(wish)))
		return true;
	reply_error_detail(request,
					   400,
					   "parameter \"after\" is not a position",
					   "A position must be the \"next\" or the id of an "
					   "earlier answer.");
	return false;
}

/* Finds the slot of the position, and returns what follows it. */
static const char *
take_slot(Wish *wish)
{
	const char *mark = strchr(wish->after, '/');
	size_t digits = strspn(wish->after, "0123456789");

	wish->slot = -1;
	if (mark == NULL || digits == 0 || digits > 4 ||
		mark != wish->after + digits)
		return wish->after;
	wish->slot = atoi(wish->after);
	memmove(wish->after, mark + 1, strlen(mark));
	return wish->after;
}

/*
 * Is it a snapshot as the server writes one, "xmin:xmax:xid,xid"? One that is
 * not would fail in the session that all listeners share.
 */
static bool
is_position(const char *text)
{
	unsigned long long least;
	unsigned long long top;
	unsigned long long last;
	unsigned long long next;

	if (!read_number(&text, ':', &least) || !read_number(&text, ':', &top) ||
		text[-1] != ':' || least == 0 || top < least)
		return false;
	for (last = least; *text != '\0'; last = next)
	{
		if (!read_number(&text, ',', &next) || next < last || next >= top)
			return false;
	}
	return true;
}

/* Reads a number and what ends it: that character, or the end of the text. */
static bool
read_number(const char **text, char end, unsigned long long *number)
{
	size_t digits = strspn(*text, "0123456789");

	if (digits == 0 || digits > 18)
		return false;
	*number = strtoull(*text, NULL, 10);
	*text += digits;
	if (**text == end)
		(*text)++;
	else if (**text != '\0')
		return false;
	return true;
}

static bool
read_kinds(Request *request, unsigned *kinds)
{
	char names[256];
	bool given;

	if (!request_query_text(request, "kinds", names, sizeof(names), &given))
		return false;
	for (const char *name = names; given && *name != '\0';)
	{
		size_t length = strcspn(name, ",");
		ChangeKind kind = listener_kind(name, length);

		if (kind == 0 || kind == CHANGE_RESET)
		{
			reply_error_detail(request,
							   400,
							   "parameter \"kinds\" has an unknown kind",
							   "Kinds are message, status, conversation, "
							   "dead_letter and operation, separated by "
							   "commas.");
			return false;
		}
		*kinds |= kind;
		name += length + (name[length] == ',' ? 1 : 0);
	}
	return true;
}

static bool
find_conversation(Request *request, const char *given, char *id)
{
	PGresult *row =
		call_database(request, find_sql, 1, (const char *[]){given}, false);

	if (row == NULL)
		return false;
	snprintf(id, UUID_MAX + 1, "%s", PQgetvalue(row, 0, 0));
	PQclear(row);
	return true;
}

/* NULL: no listeners allowed, or no memory for them. */
static Feed *
find_feed(Request *request, const ClusterSlot **slot)
{
	Feeds *feeds = request->gateway->feeds;

	return feeds != NULL ? feeds_find(feeds, request->caller.tenant, slot)
						 : NULL;
}

/* Takes the socket over, also if it fails. */
static Listener *
make_listener(Request *request,
			  const Wish *wish,
			  const ClusterSlot *slot,
			  int socket)
{
	Listener *listener = listener_create(socket);
	int number = slot != NULL ? slot->number : -1;
	const char *why;

	if (listener == NULL)
	{
		close(socket);
		return NULL;
	}
	listener->stream = wish->stream;
	listener->filter = wish->filter;
	listener->deadline_us = clock_us() + wish->wait_secs * SECOND_US;
	memcpy(listener->tenant, request->caller.tenant, sizeof(listener->tenant));
	if (request->gateway->keys != NULL)
		auth_read_key(request, listener->key, &why);
	if (number >= 0)
		snprintf(listener->place, sizeof(listener->place), "%d/", number);
	if (wish->has_after)
		listener->after =
			strdup(wish->slot == number ? wish->after : UNKNOWN_POSITION);
	/* Proxies would wait for the end of the answer. */
	text_add_string(&request->reply.headers, "X-Accel-Buffering: no\r\n");
	reply_head(request,
			   wish->stream ? "text/event-stream" : NULL,
			   &listener->head);
	if (wish->stream)
	{
		text_add_string(&listener->head, "\r\n");
		listener_write(listener, &listener->head);
	}
	return listener;
}

static void
serve(Request *request, Listener *listener)
{
	bool written = true;
	Text bytes = {0};

	while (written && listener_take(listener, &bytes))
	{
		connection_watch(request->connection, WATCH_WRITING, WRITE_US);
		written = !bytes.failed &&
				  mg_write(request->conn, bytes.data, bytes.length) > 0;
		connection_unwatch(request->connection);
		text_free(&bytes);
	}
	text_free(&bytes);
	if (!written)
		listener_lose(listener);
	listener_release(listener);
}

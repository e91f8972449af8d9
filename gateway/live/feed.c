/*
 * feed.c: tells listeners what changes in the database.
 *
 * One thread asks the database for changes, on one session for all listeners,
 * and hands each change to those who want it. While there are listeners it
 * waits in msgstore._live_feed(), which returns as soon as something has
 * changed; without any it waits for one here. It works behind a pooler, and
 * tells nothing twice and leaves nothing out when the session is lost: the
 * position after the last change is where the next session continues.
 *
 * A new listener first gets what it has missed, up to that position, and then
 * joins the others. All of this happens in the one thread, so no change can
 * slip in between.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "db/session.h"
#include "live/feed.h"

/* One call waits so long at most: until then new listeners wait, too. */
#define WAIT_MS "200"

/* After a call with changes: what commits meanwhile is read together. */
#define PAUSE_US (SECOND_US / 25)

#define RETRY_US SECOND_US
#define IDLE_US (60 * SECOND_US)

/* A comment keeps proxies from closing the connection. */
#define HEARTBEAT_US (15 * SECOND_US)

/* A client that accepts nothing for so long is lost. */
#define UNREAD_US (30 * SECOND_US)

/* As often as a revoked key is noticed elsewhere. */
#define CHECK_KEY_US (5 * SECOND_US)

struct Feed
{
	const Config *config;
	Log *log;
	Metrics *metrics;
	Keys *keys;
	pthread_t thread;
	atomic_bool stopping;

	/* Of the thread. */
	Session session; /* closed if its pg is NULL */
	bool failed;	 /* to connect, the last time */
	bool refused;	 /* the last statement; it is logged once */
	char *position;	 /* NULL: not known yet */
	Listener *listeners;

	pthread_mutex_t mutex; /* guards the members below */
	pthread_cond_t changed;
	Listener *arrived;
	long count; /* of listeners, with those that have arrived */
	bool closed;
	bool routed; /* the database is a router, which has no changes */
};

/* Columns of msgstore._live_feed(). */
enum
{
	TENANT,
	ID,
	KIND,
	CONVERSATION,
	CHANNEL,
	CHANGE
};

static const char feed_sql[] =
	"SELECT tenant_id, id, kind, conversation_id, channel, change"
	" FROM msgstore._live_feed($1, $2::int)";
static const char missed_sql[] =
	"SELECT tenant_id, id, kind, conversation_id, channel, change"
	" FROM msgstore._live_feed($1, 0, $2, $3)";

static void *run(void *argument);
static void wait_for_listeners(Feed *feed, int64_t wait_us);
static void take_arrived(Feed *feed);
static bool connect_session(Feed *feed);
static bool read_changes(Feed *feed);
static PGresult *
query(Feed *feed, const char *sql, int count, const char *const *values);
static void refuse_all(Feed *feed);
static void admit_new(Feed *feed);
static void join(Feed *feed, Listener *listener);
static void catch_up(Feed *feed, Listener *listener);
static void tell_all(Feed *feed, const PGresult *rows);
static int end_of_group(const PGresult *rows, int first);
static void
tell(Listener *listener, const PGresult *rows, int first, int end, Text *whole);
static bool may_see(const Listener *listener, const PGresult *rows, int row);
static void add_changes(const Listener *listener,
						const PGresult *rows,
						int first,
						int end,
						Text *out);
static void send_changes(Listener *listener, const char *id, const Text *list);
static void answer(Listener *listener, const char *id, const Text *list);
static const char *last_id(const PGresult *rows);
static void tend(Feed *feed);
static bool tend_one(Feed *feed, Listener *listener, int64_t now);
static void drop_done(Feed *feed);

Feed *
feed_create(const Config *config, Log *log, Metrics *metrics, Keys *keys)
{
	Feed *feed = calloc(1, sizeof(*feed));
	pthread_condattr_t attributes;

	if (feed == NULL)
		return NULL;
	feed->config = config;
	feed->log = log;
	feed->metrics = metrics;
	feed->keys = keys;
	feed->session =
		(Session){.config = config, .log = log, .stopping = &feed->stopping};
	pthread_mutex_init(&feed->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&feed->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&feed->thread, NULL, run, feed) == 0)
		return feed;
	free(feed);
	return NULL;
}

bool
feed_is_full(Feed *feed)
{
	bool full;

	pthread_mutex_lock(&feed->mutex);
	full = feed->closed || feed->count >= feed->config->max_listeners;
	pthread_mutex_unlock(&feed->mutex);
	return full;
}

bool
feed_is_routed(Feed *feed)
{
	bool routed;

	pthread_mutex_lock(&feed->mutex);
	routed = feed->routed;
	pthread_mutex_unlock(&feed->mutex);
	return routed;
}

bool
feed_add(Feed *feed, Listener *listener)
{
	bool added;

	pthread_mutex_lock(&feed->mutex);
	added = !feed->closed && feed->count < feed->config->max_listeners;
	if (added)
	{
		listener->next = feed->arrived;
		feed->arrived = listener;
		feed->count++;
		pthread_cond_signal(&feed->changed);
	}
	pthread_mutex_unlock(&feed->mutex);
	if (added)
		metrics_add(feed->metrics, METRIC_LISTENERS, 1);
	return added;
}

void
feed_stop(Feed *feed)
{
	bool stopped = atomic_exchange(&feed->stopping, true);

	pthread_mutex_lock(&feed->mutex);
	feed->closed = true;
	pthread_cond_signal(&feed->changed);
	pthread_mutex_unlock(&feed->mutex);
	if (!stopped)
		pthread_join(feed->thread, NULL);
}

void
feed_free(Feed *feed)
{
	feed_stop(feed);
	pthread_cond_destroy(&feed->changed);
	pthread_mutex_destroy(&feed->mutex);
	free(feed->position);
	free(feed);
}

static void *
run(void *argument)
{
	Feed *feed = argument;

	while (!feed->stopping)
	{
		int64_t pause_us = 0;

		take_arrived(feed);
		if (feed->listeners == NULL)
			pause_us = IDLE_US;
		else if (!connect_session(feed))
			pause_us = RETRY_US;
		else if (feed->session.router)
			refuse_all(feed);
		else
		{
			admit_new(feed);
			if (read_changes(feed))
				pause_us = PAUSE_US;
			else if (feed->session.pg == NULL)
				pause_us = RETRY_US;
		}
		tend(feed);
		if (pause_us > 0)
			wait_for_listeners(feed, pause_us);
	}
	take_arrived(feed);
	for (Listener *each = feed->listeners; each != NULL; each = each->next)
		listener_lose(each);
	drop_done(feed);
	session_close(&feed->session);
	return NULL;
}

/* After a long time without any, the session is closed and nothing is kept. */
static void
wait_for_listeners(Feed *feed, int64_t wait_us)
{
	struct timespec until = clock_timespec(clock_us() + wait_us);
	int result = 0;

	pthread_mutex_lock(&feed->mutex);
	while (!feed->stopping && result == 0 &&
		   (feed->arrived == NULL || wait_us <= PAUSE_US))
		result = pthread_cond_timedwait(&feed->changed, &feed->mutex, &until);
	pthread_mutex_unlock(&feed->mutex);
	if (wait_us == IDLE_US && result == ETIMEDOUT)
	{
		session_close(&feed->session);
		free(feed->position);
		feed->position = NULL;
	}
}

static void
take_arrived(Feed *feed)
{
	Listener *arrived;

	pthread_mutex_lock(&feed->mutex);
	arrived = feed->arrived;
	feed->arrived = NULL;
	pthread_mutex_unlock(&feed->mutex);
	while (arrived != NULL)
	{
		Listener *next = arrived->next;

		arrived->told_us = arrived->checked_us = clock_us();
		arrived->next = feed->listeners;
		feed->listeners = arrived;
		arrived = next;
	}
}

static bool
connect_session(Feed *feed)
{
	if (feed->session.pg != NULL)
		return true;
	feed->failed = !session_open(&feed->session,
								 "msgstore-gateway live",
								 feed->failed ? LOG_DEBUG : LOG_WARN);
	return !feed->failed;
}

/*
 * Each slot of a cluster tells its own changes, in its own order. The listeners
 * connect again, and are then told why not.
 */
static void
refuse_all(Feed *feed)
{
	pthread_mutex_lock(&feed->mutex);
	feed->routed = true;
	pthread_mutex_unlock(&feed->mutex);
	for (Listener *each = feed->listeners; each != NULL; each = each->next)
		listener_lose(each);
	session_close(&feed->session);
}

/* Returns whether there were any. */
static bool
read_changes(Feed *feed)
{
	PGresult *rows =
		query(feed, feed_sql, 2, (const char *[]){feed->position, WAIT_MS});
	bool changed;

	if (rows == NULL)
		return false;
	changed = feed->position != NULL && PQntuples(rows) > 1;
	if (changed)
		tell_all(feed, rows);
	free(feed->position);
	feed->position = strdup(last_id(rows));
	PQclear(rows);
	/* What follows could not be told without a gap. */
	for (Listener *each = feed->listeners;
		 each != NULL && feed->position == NULL;
		 each = each->next)
		listener_lose(each);
	return changed;
}

/* Returns NULL if it fails. Closes the session, unless msgstore refused a
 * value. */
static PGresult *
query(Feed *feed, const char *sql, int count, const char *const *values)
{
	QueryOutcome outcome = session_query(&feed->session, sql, count, values);

	if (strcmp(outcome.sqlstate, "00000") == 0 && PQntuples(outcome.result) > 0)
	{
		feed->refused = false;
		return outcome.result;
	}
	log_event(feed->log,
			  feed->refused ? LOG_DEBUG : LOG_WARN,
			  "could not read changes: database error %s%s%s",
			  outcome.sqlstate,
			  outcome.result != NULL ? ": " : "",
			  outcome.result != NULL
				  ? PQresultErrorField(outcome.result, PG_DIAG_MESSAGE_PRIMARY)
				  : "");
	/* A position that the database refuses is not the session's fault. */
	if (strncmp(outcome.sqlstate, "MS", 2) != 0)
		session_close(&feed->session);
	PQclear(outcome.result);
	feed->refused = true;
	return NULL;
}

static void
admit_new(Feed *feed)
{
	if (feed->position == NULL && !read_changes(feed))
	{
		/* The first call only returns the position. */
		if (feed->position == NULL)
			return;
	}
	for (Listener *each = feed->listeners; each != NULL; each = each->next)
	{
		if (!each->joined && feed->session.pg != NULL)
			join(feed, each);
	}
}

static void
join(Feed *feed, Listener *listener)
{
	Text ready = {0};

	if (listener->stream)
	{
		text_addf(&ready,
				  "retry: 1000\nid: %s\nevent: ready\ndata: {}\n\n",
				  listener->after != NULL ? listener->after : feed->position);
		listener_write(listener, &ready);
		text_free(&ready);
	}
	if (listener->after != NULL)
	{
		catch_up(feed, listener);
		return;
	}
	listener->joined = true;
	if (!listener->stream)
		answer(listener, feed->position, NULL);
}

/* Joins when it has all changes up to the feed's position. */
static void
catch_up(Feed *feed, Listener *listener)
{
	while (!listener->joined && !listener_is_done(listener))
	{
		PGresult *rows = query(feed,
							   missed_sql,
							   3,
							   (const char *[]){listener->after,
												feed->position,
												listener->tenant});
		int end;

		if (rows == NULL)
		{
			if (feed->session.pg != NULL)
				listener_lose(listener);
			return;
		}
		for (int first = 0; first < PQntuples(rows) - 1; first = end)
		{
			end = end_of_group(rows, first);
			tell(listener, rows, first, end, NULL);
		}
		free(listener->after);
		listener->after = strdup(last_id(rows));
		if (listener->after == NULL)
			listener_lose(listener);
		else
			listener->joined = strcmp(listener->after, feed->position) == 0;
		PQclear(rows);
	}
}

/* A group is what one transaction changed for one tenant. */
static void
tell_all(Feed *feed, const PGresult *rows)
{
	int end;

	for (int first = 0; first < PQntuples(rows) - 1; first = end)
	{
		Text whole = {0};

		end = end_of_group(rows, first);
		for (Listener *each = feed->listeners; each != NULL; each = each->next)
		{
			if (each->joined)
				tell(each, rows, first, end, &whole);
		}
		text_free(&whole);
	}
}

static int
end_of_group(const PGresult *rows, int first)
{
	int end = first + 1;

	while (end < PQntuples(rows) - 1 &&
		   strcmp(PQgetvalue(rows, end, ID), PQgetvalue(rows, first, ID)) ==
			   0 &&
		   strcmp(PQgetvalue(rows, end, TENANT),
				  PQgetvalue(rows, first, TENANT)) == 0)
		end++;
	return end;
}

/* The list for listeners that want all of it is made once, in "whole". */
static void
tell(Listener *listener, const PGresult *rows, int first, int end, Text *whole)
{
	const Filter *filter = &listener->filter;
	bool all = filter->kinds == 0 && filter->conversation[0] == '\0' &&
			   filter->channel[0] == '\0';
	Text own = {0};
	Text *list = all && whole != NULL ? whole : &own;

	if (!may_see(listener, rows, first))
		return;
	if (list->length == 0)
		add_changes(listener, rows, first, end, list);
	if (list->length > 0)
		send_changes(listener, PQgetvalue(rows, first, ID), list);
	text_free(&own);
}

/* A reset of all tenants has no tenant. */
static bool
may_see(const Listener *listener, const PGresult *rows, int row)
{
	return listener->tenant[0] == '\0' || PQgetisnull(rows, row, TENANT) ||
		   strcmp(listener->tenant, PQgetvalue(rows, row, TENANT)) == 0;
}

static void
add_changes(const Listener *listener,
			const PGresult *rows,
			int first,
			int end,
			Text *out)
{
	for (int i = first; i < end; i++)
	{
		const char *kind = PQgetvalue(rows, i, KIND);
		Change change = {.kind = listener_kind(kind, strlen(kind)),
						 .conversation = PQgetvalue(rows, i, CONVERSATION),
						 .channel = PQgetvalue(rows, i, CHANNEL),
						 .json = PQgetvalue(rows, i, CHANGE)};

		if (!listener_wants(listener, &change))
			continue;
		if (out->length > 0)
			text_add_string(out, ",");
		text_add_string(out, change.json);
	}
}

static void
send_changes(Listener *listener, const char *id, const Text *list)
{
	Text event = {0};

	if (!listener->stream)
	{
		answer(listener, id, list);
		return;
	}
	text_addf(&event, "id: %s\ndata: {\"changes\":[", id);
	text_add(&event, list->data, list->length);
	text_add_string(&event, "]}\n\n");
	event.failed |= list->failed;
	listener_write(listener, &event);
	text_free(&event);
}

/* Sends the answer and ends. Later changes follow that position. */
static void
answer(Listener *listener, const char *id, const Text *list)
{
	Text body = {0};
	Text whole = {0};

	text_add_string(&body, "{\"changes\":[");
	if (list != NULL)
		text_add(&body, list->data, list->length);
	text_addf(&body, "],\"next\":\"%s\"}\n", id);
	text_add(&whole, listener->head.data, listener->head.length);
	text_addf(&whole, "Content-Length: %zu\r\n\r\n", body.length);
	text_add(&whole, body.data, body.length);
	whole.failed |= body.failed || (list != NULL && list->failed);
	listener_write(listener, &whole);
	listener_end(listener);
	text_free(&body);
	text_free(&whole);
}

/* The last row has no change, and the position after all changes. */
static const char *
last_id(const PGresult *rows)
{
	return PQgetvalue(rows, PQntuples(rows) - 1, ID);
}

static void
tend(Feed *feed)
{
	int64_t now = clock_us();

	for (Listener *each = feed->listeners; each != NULL; each = each->next)
	{
		listener_flush(each);
		if (!tend_one(feed, each, now))
			listener_lose(each);
	}
	drop_done(feed);
}

/* Returns false if the listener has to go. */
static bool
tend_one(Feed *feed, Listener *listener, int64_t now)
{
	const char *why;
	Text beat = {0};
	Caller caller;
	bool behind;

	if (listener->key[0] != '\0' && feed->keys != NULL &&
		now - listener->checked_us > CHECK_KEY_US)
	{
		listener->checked_us = now;
		if (keys_identify(feed->keys, listener->key, &caller, &why) ==
			KEY_UNKNOWN)
			return false;
	}
	pthread_mutex_lock(&listener->mutex);
	behind =
		listener->pending.length > 0 && now - listener->written_us > UNREAD_US;
	pthread_mutex_unlock(&listener->mutex);
	if (behind)
	{
		listener->slow = true;
		return false;
	}
	/* It gets what it has missed before it has waited for too long. */
	if (!listener->stream && now > listener->deadline_us && !listener->ended &&
		(listener->joined || feed->session.pg == NULL))
	{
		const char *id = listener->joined ? feed->position : listener->after;

		if (id == NULL)
			return false;
		answer(listener, id, NULL);
	}
	else if (listener->stream && now - listener->told_us > HEARTBEAT_US)
	{
		/* An id without data is where the client continues. */
		if (listener->joined)
			text_addf(&beat, "id: %s\n\n", feed->position);
		else
			text_add_string(&beat, ":\n\n");
		listener_write(listener, &beat);
		text_free(&beat);
	}
	return true;
}

static void
drop_done(Feed *feed)
{
	Listener **place = &feed->listeners;
	long dropped = 0;

	while (*place != NULL)
	{
		Listener *listener = *place;

		if (!listener_is_done(listener))
		{
			place = &listener->next;
			continue;
		}
		*place = listener->next;
		if (listener->slow)
			metrics_add(feed->metrics, METRIC_LISTENERS_DROPPED, 1);
		listener_release(listener);
		dropped++;
	}
	if (dropped == 0)
		return;
	metrics_add(feed->metrics, METRIC_LISTENERS, -dropped);
	pthread_mutex_lock(&feed->mutex);
	feed->count -= dropped;
	pthread_mutex_unlock(&feed->mutex);
}

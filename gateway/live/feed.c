/*
 * feed.c: tells listeners what changes in the database.
 *
 * One thread asks the database for changes, on one session for all listeners,
 * and hands each change to those who want it. While there are listeners it
 * waits in msgstore._live_wait(), which returns as soon as something has
 * changed; without any it waits for one here. It works behind a pooler, and
 * tells nothing twice and leaves nothing out when the session is lost: the
 * position after the last change is where the next session continues.
 *
 * A new listener first gets what it has missed, up to that position, and then
 * joins the others. All of this happens in the one thread, so no change can
 * slip in between. If that needs the database, the wait is cancelled. Who has
 * missed much gets it page by page, so that the others do not wait for it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "db/route.h"
#include "db/session.h"
#include "live/feed.h"
#include "live/tell.h"

/* How often the position is renewed, so that it is in the history. */
#define WAIT_MS 15000

/* Listeners are looked after so often, and with unread bytes so often. */
#define TEND_US SECOND_US
#define FLUSH_US (SECOND_US / 20)

/* After a call with changes: what commits meanwhile is read together. */
#define PAUSE_US (SECOND_US / 25)

#define RETRY_US SECOND_US
#define IDLE_US (60 * SECOND_US)

/* A comment keeps proxies from closing the connection. */
#define HEARTBEAT_US (15 * SECOND_US)

/* A client that accepts nothing for so long is lost. */
#define UNREAD_US (30 * SECOND_US)

/* Of a turn, for what new listeners have missed: at least one page. */
#define CATCH_UP_US (SECOND_US / 10)

/* As often as a revoked key is noticed elsewhere. */
#define CHECK_KEY_US (5 * SECOND_US)

struct Feed
{
	const Config *config;
	Log *log;
	Metrics *metrics;
	Keys *keys;
	Cluster *cluster;
	const ClusterSlot *slot; /* NULL: of no cluster */
	pthread_t thread;
	atomic_bool stopping;

	/* Of the thread. */
	Session session;	  /* closed if its pg is NULL */
	bool failed;		  /* to connect, the last time */
	bool refused;		  /* the last statement; it is logged once */
	bool cancelled;		  /* a statement, which has not noticed it yet */
	int64_t cancelled_us; /* it costs a connection: not too often */
	char *position;		  /* NULL: not known yet */
	char count[24];		  /* of commits with changes, before that position */
	Listener *listeners;

	int wake; /* an eventfd: something has arrived, or the thread is to stop */
	pthread_mutex_t mutex; /* guards the members below */
	Listener *arrived;
	bool closed;
	bool routed; /* the database is a router, which has no changes */
};

static const char feed_sql[] =
	"SELECT tenant_id, id, kind, conversation_id, channel, change"
	" FROM msgstore._live_feed($1)";
static const char wait_sql[] = "CALL msgstore._live_wait($1::bigint, $2::int)";
static const char missed_sql[] =
	"SELECT tenant_id, id, kind, conversation_id, channel, change"
	" FROM msgstore._live_feed($1, 0, $2, $3)";

static bool has_no_place(const Feed *feed);
static void *run(void *argument);
static void wake(Feed *feed);
static void rest(Feed *feed, int64_t wait_us);
static bool is_woken(const Feed *feed, int64_t wait_us);
static void take_arrived(Feed *feed);
static bool connect_session(Feed *feed);
static int64_t follow(Feed *feed);
static void wait_for_change(Feed *feed);
static void await_change(Feed *feed);
static void cancel_wait(Feed *feed);
static bool read_changes(Feed *feed, bool *changed);
static PGresult *
query(Feed *feed, const char *sql, int count, const char *const *values);
static void refuse_all(Feed *feed);
static bool admit_new(Feed *feed, bool *progress);
static bool admit_easy(Feed *feed);
static bool needs_database(const Feed *feed, const Listener *listener);
static void join(Feed *feed, Listener *listener);
static void catch_up(Feed *feed, Listener *listener);
static int64_t tend(Feed *feed);
static bool tend_one(Feed *feed, Listener *listener, int64_t now);
static int64_t next_tending(Listener *listener, int64_t now);
static void drop_done(Feed *feed);

Feed *
feed_create(const Config *config,
			Log *log,
			Metrics *metrics,
			Keys *keys,
			Cluster *cluster,
			const ClusterSlot *slot)
{
	Feed *feed = calloc(1, sizeof(*feed));

	if (feed == NULL)
		return NULL;
	feed->config = config;
	feed->log = log;
	feed->metrics = metrics;
	feed->keys = keys;
	feed->cluster = cluster;
	feed->slot = slot;
	feed->session =
		(Session){.config = config, .log = log, .stopping = &feed->stopping};
	pthread_mutex_init(&feed->mutex, NULL);
	feed->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (feed->wake >= 0 && pthread_create(&feed->thread, NULL, run, feed) == 0)
		return feed;
	if (feed->wake >= 0)
		close(feed->wake);
	free(feed);
	return NULL;
}

bool
feed_is_full(Feed *feed)
{
	bool full;

	pthread_mutex_lock(&feed->mutex);
	full = has_no_place(feed);
	pthread_mutex_unlock(&feed->mutex);
	return full;
}

/* The feeds of several slots share the limit. The caller holds the mutex. */
static bool
has_no_place(const Feed *feed)
{
	return feed->closed || feed->metrics->values[METRIC_LISTENERS] >=
							   feed->config->max_listeners;
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
	added = !has_no_place(feed);
	if (added)
	{
		listener->next = feed->arrived;
		feed->arrived = listener;
		metrics_add(feed->metrics, METRIC_LISTENERS, 1);
		wake(feed);
	}
	pthread_mutex_unlock(&feed->mutex);
	return added;
}

void
feed_stop(Feed *feed)
{
	bool stopped = atomic_exchange(&feed->stopping, true);

	pthread_mutex_lock(&feed->mutex);
	feed->closed = true;
	wake(feed);
	pthread_mutex_unlock(&feed->mutex);
	if (!stopped)
		pthread_join(feed->thread, NULL);
}

void
feed_free(Feed *feed)
{
	feed_stop(feed);
	pthread_mutex_destroy(&feed->mutex);
	close(feed->wake);
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
			pause_us = follow(feed);
		tend(feed);
		if (pause_us > 0)
			rest(feed, pause_us);
	}
	take_arrived(feed);
	for (Listener *each = feed->listeners; each != NULL; each = each->next)
		listener_lose(each);
	drop_done(feed);
	session_close(&feed->session);
	return NULL;
}

static void
wake(Feed *feed)
{
	/* Fails only if the thread has not noticed many others yet. */
	(void) !eventfd_write(feed->wake, 1);
}

/* After a long time without any, the session is closed and nothing is kept. */
static void
rest(Feed *feed, int64_t wait_us)
{
	int64_t until = clock_us() + wait_us;
	int64_t left = wait_us;

	if (wait_us <= PAUSE_US)
	{
		poll(NULL, 0, (int) (wait_us / 1000));
		return;
	}
	while (left > 0 && !is_woken(feed, left))
		left = until - clock_us();
	if (wait_us == IDLE_US && left <= 0)
	{
		session_close(&feed->session);
		free(feed->position);
		feed->position = NULL;
	}
}

/* Waits so long at most. */
static bool
is_woken(const Feed *feed, int64_t wait_us)
{
	struct pollfd file = {.fd = feed->wake, .events = POLLIN};

	return poll(&file, 1, (int) (wait_us / 1000 + 1)) > 0;
}

static void
take_arrived(Feed *feed)
{
	Listener *arrived;
	eventfd_t count;

	(void) !eventfd_read(feed->wake, &count);
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
	feed->failed = !route_open(&feed->session,
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

/* Returns the time to rest before the next turn. */
static int64_t
follow(Feed *feed)
{
	bool changed;
	bool progress;

	if (!read_changes(feed, &changed))
		return RETRY_US;
	if (!admit_new(feed, &progress))
		return feed->session.pg == NULL ? RETRY_US : progress ? 0 : PAUSE_US;
	if (changed)
		return PAUSE_US;
	wait_for_change(feed);
	return feed->session.pg == NULL ? RETRY_US : 0;
}

/* Waits on the server, and looks after the listeners meanwhile. */
static void
wait_for_change(Feed *feed)
{
	long most_ms = feed->config->query_timeout * 900;
	char ms[24];
	const char *values[] = {feed->count, ms};
	const Statement statement = {.sql = wait_sql, .count = 2, .values = values};
	QueryOutcome outcome;

	/* The server ends the statement after the query timeout. */
	snprintf(ms, sizeof(ms), "%ld", most_ms < WAIT_MS ? most_ms : WAIT_MS);
	if (!session_send(&feed->session, &statement))
	{
		session_close(&feed->session);
		return;
	}
	await_change(feed);
	outcome = session_take_outcome(&feed->session);
	if (strcmp(outcome.sqlstate, "57014") == 0)
		feed->cancelled = false;
	else if (strcmp(outcome.sqlstate, "00000") != 0)
	{
		log_event(feed->log,
				  LOG_WARN,
				  "could not wait for changes: database error %s",
				  outcome.sqlstate);
		session_close(&feed->session);
	}
	PQclear(outcome.result);
}

/* Until the statement ends, which takes only a moment once it is cancelled. */
static void
await_change(Feed *feed)
{
	int64_t late = clock_us() + WAIT_MS * 1000 + RETRY_US;
	int64_t may_cancel = feed->cancelled_us + PAUSE_US;
	bool cancelled = false;
	int64_t next;

	do
	{
		bool needed;

		take_arrived(feed);
		needed = !cancelled && (feed->stopping || !admit_easy(feed));
		next = tend(feed);
		if (needed && clock_us() >= may_cancel)
		{
			cancel_wait(feed);
			cancelled = true;
		}
		else if (needed && may_cancel < next)
			next = may_cancel;
	} while (clock_us() < late &&
			 !session_has_outcome(&feed->session,
								  cancelled ? -1 : feed->wake,
								  next));
}

/* The next statement may be what it ends, if this one has just ended. */
static void
cancel_wait(Feed *feed)
{
	char ignored[256];

	feed->cancelled_us = clock_us();
	feed->cancelled = feed->session.cancel != NULL &&
					  PQcancel(feed->session.cancel, ignored, sizeof(ignored));
}

/* Returns false if it fails. */
static bool
read_changes(Feed *feed, bool *changed)
{
	PGresult *rows = query(feed, feed_sql, 1, (const char *[]){feed->position});

	if (rows == NULL)
		return false;
	*changed = feed->position != NULL && PQntuples(rows) > 1;
	if (*changed)
		tell_all(feed->listeners, rows);
	free(feed->position);
	feed->position = strdup(tell_position(rows));
	snprintf(feed->count, sizeof(feed->count), "%s", tell_count(rows));
	PQclear(rows);
	/* What follows could not be told without a gap. */
	for (Listener *each = feed->listeners;
		 each != NULL && feed->position == NULL;
		 each = each->next)
		listener_lose(each);
	return feed->position != NULL;
}

/* Returns NULL if it fails. Closes the session, unless msgstore refused a
 * value. */
static PGresult *
query(Feed *feed, const char *sql, int count, const char *const *values)
{
	QueryOutcome outcome = session_query(&feed->session, sql, count, values);

	if (feed->cancelled && strcmp(outcome.sqlstate, "57014") == 0)
	{
		PQclear(outcome.result);
		outcome = session_query(&feed->session, sql, count, values);
		feed->cancelled = false;
	}
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

/* False if some are left: they read what they have before they get more. */
static bool
admit_new(Feed *feed, bool *progress)
{
	int64_t until = clock_us() + CATCH_UP_US;
	bool all = true;

	*progress = false;
	for (Listener *each = feed->listeners; each != NULL; each = each->next)
	{
		if (each->joined || listener_is_done(each))
			continue;
		if (feed->session.pg != NULL && clock_us() < until &&
			!listener_has_pending(each))
		{
			join(feed, each);
			*progress = true;
		}
		all &= each->joined || listener_is_done(each);
	}
	return all;
}

/* Admits those who do not need the database. Returns whether all are. */
static bool
admit_easy(Feed *feed)
{
	bool all = true;

	for (Listener *each = feed->listeners; each != NULL; each = each->next)
	{
		if (each->joined || listener_is_done(each))
			continue;
		if (needs_database(feed, each))
			all = false;
		else
			join(feed, each);
	}
	return all;
}

/*
 * Changes after the feed's position are told as soon as they are read. A poll
 * that does not wait for that asks for what is there now.
 */
static bool
needs_database(const Feed *feed, const Listener *listener)
{
	if (listener->after != NULL && strcmp(listener->after, feed->position) != 0)
		return true;
	return !listener->stream &&
		   (listener->after == NULL || listener->deadline_us <= clock_us());
}

static void
join(Feed *feed, Listener *listener)
{
	Text ready = {0};

	if (listener->stream && !listener->greeted)
	{
		text_addf(&ready,
				  "retry: 1000\nid: %s%s\nevent: ready\ndata: {}\n\n",
				  listener->place,
				  listener->after != NULL ? listener->after : feed->position);
		listener_write(listener, &ready);
		text_free(&ready);
		listener->greeted = true;
	}
	if (listener->after != NULL && strcmp(listener->after, feed->position) != 0)
	{
		catch_up(feed, listener);
		return;
	}
	listener->joined = true;
	if (!listener->stream && listener->after == NULL)
		tell_answer(listener, feed->position, NULL);
}

/* Tells a page of what it has missed. It joins at the feed's position. */
static void
catch_up(Feed *feed, Listener *listener)
{
	PGresult *rows = query(
		feed,
		missed_sql,
		3,
		(const char *[]){listener->after, feed->position, listener->tenant});

	if (rows == NULL)
	{
		if (feed->session.pg != NULL)
			listener_lose(listener);
		return;
	}
	tell_one(listener, rows);
	free(listener->after);
	listener->after = strdup(tell_position(rows));
	if (listener->after == NULL)
		listener_lose(listener);
	else
		listener->joined =
			listener->ended || strcmp(listener->after, feed->position) == 0;
	PQclear(rows);
}

/* Returns the time at which it has to be done again. */
static int64_t
tend(Feed *feed)
{
	int64_t now = clock_us();
	int64_t next = now + TEND_US;

	for (Listener *each = feed->listeners; each != NULL; each = each->next)
	{
		int64_t own;

		listener_flush(each);
		if (!tend_one(feed, each, now))
			listener_lose(each);
		own = next_tending(each, now);
		next = own < next ? own : next;
	}
	drop_done(feed);
	return next;
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
	/* Its tenant has moved, or the slot: it connects again. */
	if (feed->slot != NULL &&
		cluster_find(feed->cluster, listener->tenant) != feed->slot)
		return false;
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
		tell_answer(listener, id, NULL);
	}
	else if (listener->stream && now - listener->told_us > HEARTBEAT_US)
	{
		/* An id without data is where the client continues. */
		if (listener->joined)
			text_addf(&beat, "id: %s%s\n\n", listener->place, feed->position);
		else
			text_add_string(&beat, ":\n\n");
		listener_write(listener, &beat);
		text_free(&beat);
	}
	return true;
}

static int64_t
next_tending(Listener *listener, int64_t now)
{
	int64_t next = now + TEND_US;

	pthread_mutex_lock(&listener->mutex);
	if (listener->pending.length > 0 && listener->socket >= 0)
		next = now + FLUSH_US;
	else if (!listener->stream && !listener->ended &&
			 listener->deadline_us < next)
		next = listener->deadline_us;
	pthread_mutex_unlock(&listener->mutex);
	return next;
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
	if (dropped > 0)
		metrics_add(feed->metrics, METRIC_LISTENERS, -dropped);
}

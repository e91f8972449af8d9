/*
 * tell.c: hands the changes that the database returned to listeners.
 *
 * Most listeners follow one conversation. Those of the conversation of a change
 * are found in a sorted list, so that the others cost nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "live/tell.h"

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

/* Listeners that follow one conversation each, in the order of its id. */
typedef struct Followers
{
	Listener **all; /* NULL: not sorted, because memory is short */
	size_t count;
} Followers;

static void sort_followers(Followers *followers, Listener *listeners);
static int compare_followers(const void *a, const void *b);
static size_t find_first(const Followers *followers, const char *conversation);
static void tell_followers(const Followers *followers,
						   const PGresult *rows,
						   int first,
						   int end);
static int end_of_group(const PGresult *rows, int first);
static void
tell(Listener *listener, const PGresult *rows, int first, int end, Text *whole);
static Change read_change(const PGresult *rows, int row);
static bool may_see(const Listener *listener, const PGresult *rows, int row);
static void add_changes(const Listener *listener,
						const PGresult *rows,
						int first,
						int end,
						Text *out);
static void send_changes(Listener *listener, const char *id, const Text *list);

void
tell_all(Listener *listeners, const PGresult *rows)
{
	Followers followers;
	int end;

	sort_followers(&followers, listeners);
	for (int first = 0; first < PQntuples(rows) - 1; first = end)
	{
		Text whole = {0};

		end = end_of_group(rows, first);
		tell_followers(&followers, rows, first, end);
		for (Listener *each = listeners; each != NULL; each = each->next)
		{
			if (each->joined &&
				(each->filter.conversation[0] == '\0' || followers.all == NULL))
				tell(each, rows, first, end, &whole);
		}
		text_free(&whole);
	}
	free(followers.all);
}

void
tell_one(Listener *listener, const PGresult *rows)
{
	int end;

	for (int first = 0; first < PQntuples(rows) - 1; first = end)
	{
		end = end_of_group(rows, first);
		tell(listener, rows, first, end, NULL);
	}
}

static void
sort_followers(Followers *followers, Listener *listeners)
{
	size_t count = 0;

	for (Listener *each = listeners; each != NULL; each = each->next)
		count++;
	*followers = (Followers){.all = calloc(count + 1, sizeof(*followers->all))};
	if (followers->all == NULL)
		return;
	for (Listener *each = listeners; each != NULL; each = each->next)
	{
		if (each->joined && each->filter.conversation[0] != '\0')
			followers->all[followers->count++] = each;
	}
	qsort(followers->all,
		  followers->count,
		  sizeof(*followers->all),
		  compare_followers);
}

static int
compare_followers(const void *a, const void *b)
{
	return strcmp((*(Listener *const *) a)->filter.conversation,
				  (*(Listener *const *) b)->filter.conversation);
}

/* Returns the place of the first that does not precede the conversation. */
static size_t
find_first(const Followers *followers, const char *conversation)
{
	size_t low = 0;
	size_t high = followers->count;

	while (low < high)
	{
		size_t middle = low + (high - low) / 2;

		if (strcmp(followers->all[middle]->filter.conversation, conversation) <
			0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Each gets the changes of the group in one event. */
static void
tell_followers(const Followers *followers,
			   const PGresult *rows,
			   int first,
			   int end)
{
	Listener *told = NULL;

	if (followers->count == 0)
		return;
	for (int i = first; i < end; i++)
	{
		Change change = read_change(rows, i);
		bool reset = change.kind == CHANGE_RESET;

		for (size_t k = reset ? 0 : find_first(followers, change.conversation);
			 k < followers->count &&
			 (reset || strcmp(followers->all[k]->filter.conversation,
							  change.conversation) == 0);
			 k++)
		{
			Listener *each = followers->all[k];

			if (!may_see(each, rows, first) || !listener_wants(each, &change))
				continue;
			if (each->news.length == 0 && !each->news.failed)
			{
				each->next_told = told;
				told = each;
			}
			else
				text_add_string(&each->news, ",");
			text_add_string(&each->news, change.json);
		}
	}
	for (; told != NULL; told = told->next_told)
	{
		send_changes(told, PQgetvalue(rows, first, ID), &told->news);
		text_free(&told->news);
	}
}

/* A group is what one transaction changed for one tenant. */
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
		Change change = read_change(rows, i);

		if (!listener_wants(listener, &change))
			continue;
		if (out->length > 0)
			text_add_string(out, ",");
		text_add_string(out, change.json);
	}
}

static Change
read_change(const PGresult *rows, int row)
{
	const char *kind = PQgetvalue(rows, row, KIND);

	return (Change){.kind = listener_kind(kind, strlen(kind)),
					.conversation = PQgetvalue(rows, row, CONVERSATION),
					.channel = PQgetvalue(rows, row, CHANNEL),
					.json = PQgetvalue(rows, row, CHANGE)};
}

static void
send_changes(Listener *listener, const char *id, const Text *list)
{
	Text event = {0};

	if (!listener->stream)
	{
		tell_answer(listener, id, list);
		return;
	}
	text_addf(&event, "id: %s%s\ndata: {\"changes\":[", listener->place, id);
	text_add(&event, list->data, list->length);
	text_add_string(&event, "]}\n\n");
	event.failed |= list->failed;
	listener_write(listener, &event);
	text_free(&event);
}

void
tell_answer(Listener *listener, const char *id, const Text *list)
{
	Text body = {0};
	Text whole = {0};

	text_add_string(&body, "{\"changes\":[");
	if (list != NULL)
		text_add(&body, list->data, list->length);
	text_addf(&body, "],\"next\":\"%s%s\"}\n", listener->place, id);
	text_add(&whole, listener->head.data, listener->head.length);
	text_addf(&whole, "Content-Length: %zu\r\n\r\n", body.length);
	text_add(&whole, body.data, body.length);
	whole.failed |= body.failed || (list != NULL && list->failed);
	listener_write(listener, &whole);
	listener_end(listener);
	text_free(&body);
	text_free(&whole);
}

/* The last row has no kind. */
const char *
tell_position(const PGresult *rows)
{
	return PQgetvalue(rows, PQntuples(rows) - 1, ID);
}

const char *
tell_count(const PGresult *rows)
{
	return PQgetvalue(rows, PQntuples(rows) - 1, CHANGE);
}

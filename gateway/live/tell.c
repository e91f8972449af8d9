/*
 * tell.c: hands the changes that the database returned to listeners.
 */
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

void
tell_all(Listener *listeners, const PGresult *rows)
{
	int end;

	for (int first = 0; first < PQntuples(rows) - 1; first = end)
	{
		Text whole = {0};

		end = end_of_group(rows, first);
		for (Listener *each = listeners; each != NULL; each = each->next)
		{
			if (each->joined)
				tell(each, rows, first, end, &whole);
		}
		text_free(&whole);
	}
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

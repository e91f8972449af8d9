/*
 * item.c: the results of events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/item.h"

static void copy_whole(char *out, size_t size, const char *text);

void
items_distribute(BatchItem *items, BatchItem *end, PGresult *result)
{
	int rows = PQntuples(result);
	int ordinal = 0;

	for (BatchItem *item = items; item != end; item = item->next)
	{
		int row = ordinal++;

		/* Usually row and ordinal match; the ordinal decides. */
		if (row >= rows || atoi(PQgetvalue(result, row, 0)) != ordinal)
		{
			for (row = 0; row < rows; row++)
			{
				if (atoi(PQgetvalue(result, row, 0)) == ordinal)
					break;
			}
		}
		if (row >= rows)
			item_set_error(item, "XX000", "ingest_batch returned no row", NULL);
		else if (!PQgetisnull(result, row, 3))
			item_set_error(item,
						   PQgetvalue(result, row, 3),
						   PQgetvalue(result, row, 4),
						   PQgetvalue(result, row, 5));
		else
		{
			memcpy(item->sqlstate, "00000", 6);
			item->duplicate = strcmp(PQgetvalue(result, row, 2), "t") == 0;
			text_copy(item->event_id,
					  sizeof(item->event_id),
					  PQgetvalue(result, row, 1));
		}
	}
}

BatchItem *
items_end_of_tenant(BatchItem *items)
{
	const char *tenant = items->tenant;

	while (items != NULL && strcmp(items->tenant, tenant) == 0)
		items = items->next;
	return items;
}

void
item_set_error(BatchItem *item,
			   const char *sqlstate,
			   const char *message,
			   const char *detail)
{
	snprintf(item->sqlstate, sizeof(item->sqlstate), "%s", sqlstate);
	copy_whole(item->message, sizeof(item->message), message);
	copy_whole(item->detail, sizeof(item->detail), detail);
	item->event_id[0] = '\0';
}

/* What does not fit is cut at a character. */
static void
copy_whole(char *out, size_t size, const char *text)
{
	size_t length = text != NULL ? strlen(text) : 0;

	if (length >= size)
	{
		length = size - 1;
		while (length > 0 && ((unsigned char) text[length] & 0xc0) == 0x80)
			length--;
	}
	if (length > 0)
		memcpy(out, text, length);
	out[length] = '\0';
}

void
items_set_errors(BatchItem *items, const char *sqlstate, const char *message)
{
	for (BatchItem *item = items; item != NULL; item = item->next)
		item_set_error(item, sqlstate, message, NULL);
}

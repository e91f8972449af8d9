/*
 * responses/search.c: notes which responses are to be indexed.
 *
 * The index is in SQL, see sql/60_responses/57_search.sql, and the worker fills
 * it. A save only adds the ID of the response to a table.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#include "responses/search.h"
#include "server/row_statement.h"
#include "server/settings.h"

/* The columns of response_search_changes. */
enum
{
	TENANT_ID,
	ID,
	RESPONSE_ID,
	COLUMNS
};

static void read_row(const void *rows, int i, Datum *values, bool *nulls);

bool
search_note(const Response *response)
{
	/* What is in progress changes often, and is not complete. */
	if (!msgstore_response_search || response->ended_at == DT_NOBEGIN)
		return false;
	SPI_connect();
	row_insert_any("response_search_changes", COLUMNS, read_row, response, 1);
	SPI_finish();
	return true;
}

static void
read_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const Response *response = (const Response *) rows + i;

	memset(nulls, 0, COLUMNS * sizeof(bool));
	values[TENANT_ID] = CStringGetTextDatum(response->tenant_id);
	values[ID] = row_key_new();
	values[RESPONSE_ID] = CStringGetTextDatum(response->id);
}

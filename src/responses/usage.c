/*
 * responses/usage.c: what ended responses add to the usage of their tenant,
 * model and day.
 *
 * Adding to a sum in place would make all sessions that save responses of a
 * model wait for each other. Each change is a row of response_usage_changes
 * instead, and the worker merges them.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "responses/compose.h"
#include "responses/fields.h"
#include "responses/usage.h"
#include "server/row_statement.h"

/* The columns of response_usage_changes. */
enum
{
	TENANT_ID,
	ID,
	MODEL,
	DAY,
	RESPONSES,
	TOKENS,
	COLUMNS = TOKENS + RESPONSES_USAGES
};

typedef struct ChangeRow
{
	const Response *response;
	Usage change;
} ChangeRow;

static int64 exact_tokens(const Response *response, int i);
static void read_row(const void *rows, int i, Datum *values, bool *nulls);

void
usage_read(const Response *response, Usage *usage)
{
	memset(usage, 0, sizeof(Usage));
	if (response->ended_at == DT_NOBEGIN)
		return;
	for (int i = 0; i < RESPONSES_USAGES; i++)
	{
		usage->tokens[i] = exact_tokens(response, i);
		if (usage->tokens[i] > 0)
			usage->responses = 1;
	}
}

bool
usage_add(const Response *response, const Usage *before)
{
	ChangeRow row = {.response = response};
	bool changed;

	usage_read(response, &row.change);
	if (before != NULL)
	{
		row.change.responses -= before->responses;
		for (int i = 0; i < RESPONSES_USAGES; i++)
			row.change.tokens[i] -= before->tokens[i];
	}
	changed = row.change.responses != 0;
	for (int i = 0; i < RESPONSES_USAGES; i++)
		changed = changed || row.change.tokens[i] != 0;
	if (!changed)
		return false;
	SPI_connect();
	row_insert_any("response_usage_changes", COLUMNS, read_row, &row, 1);
	SPI_finish();
	return true;
}

/* The column holds no more than an int; then the extensions have the number. */
static int64
exact_tokens(const Response *response, int i)
{
	const char *name = responses_usage_names[i];
	JsonbValue usage;
	JsonbValue number;

	if (response->usage[i] != PG_INT32_MAX || response->extensions == NULL ||
		getKeyJsonValueFromContainer(&response->extensions->root,
									 "usage",
									 strlen("usage"),
									 &usage) == NULL ||
		usage.type != jbvBinary ||
		getKeyJsonValueFromContainer(usage.val.binary.data,
									 name,
									 strlen(name),
									 &number) == NULL)
		return response->usage[i];
	return responses_read_integer(name, &number, 0, PG_INT64_MAX);
}

static void
read_row(const void *rows, int i, Datum *values, bool *nulls)
{
	const ChangeRow *row = (const ChangeRow *) rows + i;

	memset(nulls, 0, COLUMNS * sizeof(bool));
	values[TENANT_ID] = CStringGetTextDatum(row->response->tenant_id);
	values[ID] = row_key_new();
	values[MODEL] = CStringGetTextDatum(row->response->model);
	values[DAY] =
		DateADTGetDatum((DateADT) (row->response->ended_at / USECS_PER_DAY));
	values[RESPONSES] = Int64GetDatum(row->change.responses);
	for (int usage = 0; usage < RESPONSES_USAGES; usage++)
		values[TOKENS + usage] = Int64GetDatum(row->change.tokens[usage]);
}

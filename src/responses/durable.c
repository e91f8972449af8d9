/*
 * responses/durable.c: the durable store, the table of responses.
 *
 * A response is found by its tenant and ID, the primary key. A session without
 * a tenant looks for an ID among its own responses first, and then among those
 * of all tenants.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "responses/durable.h"
#include "responses/status.h"
#include "server/statement.h"

/*
 * The columns, in the order of the statements below. It is the order of the
 * table, and no column is left out: so a row is read as it is stored, without
 * the cost of a projection.
 */
enum
{
	COLUMN_TENANT_ID = 1,
	COLUMN_ID,
	COLUMN_OWNER,
	COLUMN_STATUS,
	COLUMN_MODEL,
	COLUMN_PREVIOUS,
	COLUMN_INPUT,
	COLUMN_OUTPUT,
	COLUMN_USAGE_INPUT,
	COLUMN_USAGE_OUTPUT,
	COLUMN_USAGE_TOTAL,
	COLUMN_ERROR,
	COLUMN_EXTENSIONS,
	COLUMN_CREATED_AT,
	COLUMN_COMPLETED_AT,
	COLUMN_DELETED_AT,
	COLUMN_BACKGROUND,
	COLUMN_BACKGROUND_REQUEST,
	COLUMN_WORKER_ID,
	COLUMN_WORKER_HEARTBEAT,
	COLUMN_ATTEMPT_COUNT,
	COLUMN_ENDED_AT,
	COLUMN_LAST_USED_AT,
	COLUMN_ON_HOLD
};

#define COLUMNS COLUMN_ON_HOLD

/* A new response has no use and no hold. */
#define COLUMNS_GIVEN COLUMN_ENDED_AT

#define COLUMN_LIST                                                            \
	"tenant_id, id, owner, status, model, previous_response_id, input,"        \
	" output, usage_input_tokens, usage_output_tokens, usage_total_tokens,"    \
	" error, extensions, created_at, completed_at, deleted_at, background,"    \
	" background_request, worker_id, worker_heartbeat, attempt_count,"         \
	" ended_at, last_used_at, on_hold"

#define QUALIFIED_COLUMN_LIST                                                  \
	"r.tenant_id, r.id, r.owner, r.status, r.model, r.previous_response_id,"   \
	" r.input, r.output, r.usage_input_tokens, r.usage_output_tokens,"         \
	" r.usage_total_tokens, r.error, r.extensions, r.created_at,"              \
	" r.completed_at, r.deleted_at, r.background, r.background_request,"       \
	" r.worker_id, r.worker_heartbeat, r.attempt_count, r.ended_at,"           \
	" r.last_used_at, r.on_hold"

/* Inserts nothing if the tenant has used the ID. */
static Statement insert_response = {
	.sql = "INSERT INTO msgstore.responses (" COLUMN_LIST ")"
		   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
		   " $14, $15, $16, $17, $18, $19, $20, $21, $22, NULL, false)"
		   " ON CONFLICT DO NOTHING",
	.nargs = COLUMNS_GIVEN,
	.argtypes = {TEXTOID,  TEXTOID,		  TEXTOID,	TEXTOID,
				 TEXTOID,  TEXTOID,		  JSONBOID, JSONBOID,
				 INT4OID,  INT4OID,		  INT4OID,	JSONBOID,
				 JSONBOID, INT8OID,		  INT8OID,	TIMESTAMPTZOID,
				 BOOLOID,  JSONBOID,	  TEXTOID,	TIMESTAMPTZOID,
				 INT4OID,  TIMESTAMPTZOID},
	.table = "responses"};

static Statement find_response = {.sql = "SELECT " COLUMN_LIST
										 " FROM msgstore.responses"
										 " WHERE tenant_id = $1 AND id = $2",
								  .nargs = 2,
								  .argtypes = {TEXTOID, TEXTOID},
								  .table = "responses"};

/* Its own tenant, "", comes first; two others are too many. */
static Statement find_tenant = {.sql =
									"SELECT tenant_id FROM msgstore.responses"
									" WHERE tenant_id = '' AND id = $1"
									" UNION ALL"
									" SELECT tenant_id FROM msgstore.responses"
									" WHERE tenant_id <> '' AND id = $1"
									" ORDER BY tenant_id LIMIT 2",
								.nargs = 1,
								.argtypes = {TEXTOID},
								.table = "responses"};

/*
 * A response and its ancestors, nearest first, with one start of the executor.
 * The limit also ends a cycle.
 */
static Statement find_chain = {
	.sql = "WITH RECURSIVE walk AS ("
		   "SELECT 1 AS step, " COLUMN_LIST " FROM msgstore.responses"
		   " WHERE tenant_id = $1 AND id = $2"
		   " UNION ALL"
		   " SELECT w.step + 1, " QUALIFIED_COLUMN_LIST " FROM walk w"
		   " JOIN msgstore.responses r"
		   " ON r.tenant_id = $1 AND r.id = w.previous_response_id"
		   " WHERE w.step < $3)"
		   " SELECT " COLUMN_LIST " FROM walk",
	.nargs = 3,
	.argtypes = {TEXTOID, TEXTOID, INT4OID},
	.table = "responses"};

static Statement lock_response = {.sql = "SELECT " COLUMN_LIST
										 " FROM msgstore.responses"
										 " WHERE tenant_id = $1 AND id = $2"
										 " FOR NO KEY UPDATE",
								  .nargs = 2,
								  .argtypes = {TEXTOID, TEXTOID},
								  .table = "responses"};

/* Leaves out the columns that never change, so that TOAST keeps their values.
 */
static Statement update_response = {
	.sql = "UPDATE msgstore.responses SET status = $3, output = $4,"
		   " error = $5, extensions = $6, usage_input_tokens = $7,"
		   " usage_output_tokens = $8, usage_total_tokens = $9,"
		   " completed_at = $10, background_request = $11, worker_id = $12,"
		   " worker_heartbeat = $13, attempt_count = $14, deleted_at = $15,"
		   " ended_at = $16"
		   " WHERE tenant_id = $1 AND id = $2",
	.nargs = 16,
	.argtypes = {TEXTOID,
				 TEXTOID,
				 TEXTOID,
				 JSONBOID,
				 JSONBOID,
				 JSONBOID,
				 INT4OID,
				 INT4OID,
				 INT4OID,
				 INT8OID,
				 JSONBOID,
				 TEXTOID,
				 TIMESTAMPTZOID,
				 INT4OID,
				 TIMESTAMPTZOID,
				 TIMESTAMPTZOID},
	.table = "responses"};

/* Skips a row that another session has locked to claim it. */
static Statement next_queued = {
	.sql = "SELECT id, tenant_id FROM msgstore.responses"
		   " WHERE background AND status = 'queued' AND deleted_at IS NULL"
		   " AND ($1 = '' OR tenant_id = $1)"
		   " AND NOT msgstore._is_elsewhere(tenant_id)"
		   " ORDER BY created_at, id LIMIT 1"
		   " FOR NO KEY UPDATE SKIP LOCKED",
	.nargs = 1,
	.argtypes = {TEXTOID},
	.table = "responses"};

/* The parameters of a statement, or the columns of a row. */
typedef struct Row
{
	Datum values[COLUMNS];
	char nulls[COLUMNS]; /* 'n' for null */
	int n;
} Row;

static Response *copy_row(uint64 row);
static char *copy_text(const Row *row, int column);
static Jsonb *copy_jsonb(const Row *row, int column);
static int32 read_int(const Row *row, int column);
static int64 read_bigint(const Row *row, int column, int64 if_null);
static void put(Row *row, Datum value, bool isnull);
static void put_text(Row *row, const char *text);
static void put_jsonb(Row *row, const Jsonb *jsonb);
static void put_usage(Row *row, const Response *response);
static void put_timestamp(Row *row, TimestampTz timestamp);
static bool is_array(Datum document);
static uint32 head_of(Datum document);

PG_FUNCTION_INFO_V1(msgstore_response_is_sound);

/* The constraint of the table: see sql/60_responses/10_table.sql. */
Datum
msgstore_response_is_sound(PG_FUNCTION_ARGS)
{
	Size id_bytes;

	for (int i = 0; i < 4; i++)
	{
		if (PG_ARGISNULL(i))
			PG_RETURN_BOOL(false);
	}
	id_bytes = VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0));
	PG_RETURN_BOOL(
		id_bytes > 0 && id_bytes <= RESPONSES_MAX_ID_BYTES &&
		responses_status_exists(text_to_cstring(PG_GETARG_TEXT_PP(1))) &&
		is_array(PG_GETARG_DATUM(2)) && is_array(PG_GETARG_DATUM(3)) &&
		(PG_ARGISNULL(4) || (head_of(PG_GETARG_DATUM(4)) & JB_FOBJECT) != 0));
}

bool
responses_durable_insert(const Response *response)
{
	Row row = {.n = 0};
	bool inserted;

	SPI_connect();
	put_text(&row, response->tenant_id);
	put_text(&row, response->id);
	put_text(&row, response->owner);
	put_text(&row, response->status);
	put_text(&row, response->model);
	put_text(&row, response->previous_response_id);
	put_jsonb(&row, response->input);
	put_jsonb(&row, response->output);
	put_usage(&row, response);
	put_jsonb(&row, response->error);
	put_jsonb(&row, response->extensions);
	put(&row, Int64GetDatum(response->created_at), false);
	put(&row,
		Int64GetDatum(response->completed_at),
		response->completed_at == 0);
	put_timestamp(&row, response->deleted_at);
	put(&row, BoolGetDatum(response->background), false);
	put_jsonb(&row, response->background_request);
	put_text(&row, response->worker_id);
	put_timestamp(&row, response->worker_heartbeat);
	put(&row, Int32GetDatum(response->attempt_count), false);
	put_timestamp(&row, response->ended_at);
	statement_execute(&insert_response, row.values, row.nulls);
	inserted = SPI_processed == 1;
	SPI_finish();
	return inserted;
}

Response *
responses_durable_find(const char *tenant_id, const char *id, bool lock)
{
	MemoryContext caller = CurrentMemoryContext;
	Response *response = NULL;
	Datum values[2];

	SPI_connect();
	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(id);
	statement_execute(lock ? &lock_response : &find_response, values, NULL);
	if (SPI_processed == 1)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		response = copy_row(0);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return response;
}

char *
responses_durable_tenant(const char *id, bool *several)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum values[1];
	char *tenant_id = NULL;

	SPI_connect();
	values[0] = CStringGetTextDatum(id);
	statement_execute(&find_tenant, values, NULL);
	if (SPI_processed > 0)
	{
		bool isnull;
		Datum value = statement_value(0, 1, &isnull);

		tenant_id = MemoryContextStrdup(caller, TextDatumGetCString(value));
	}
	*several = SPI_processed > 1;
	SPI_finish();
	return tenant_id;
}

List *
responses_durable_find_chain(const char *tenant_id, const char *id, int steps)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext spi;
	List *chain = NIL;
	Datum values[3];

	SPI_connect();
	values[0] = CStringGetTextDatum(tenant_id);
	values[1] = CStringGetTextDatum(id);
	values[2] = Int32GetDatum(steps);
	statement_execute(&find_chain, values, NULL);
	spi = MemoryContextSwitchTo(caller);
	for (uint64 row = 0; row < SPI_processed; row++)
		chain = lappend(chain, copy_row(row));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	return chain;
}

void
responses_durable_update(const Response *response)
{
	Row row = {.n = 0};

	SPI_connect();
	put_text(&row, response->tenant_id);
	put_text(&row, response->id);
	put_text(&row, response->status);
	put_jsonb(&row, response->output);
	put_jsonb(&row, response->error);
	put_jsonb(&row, response->extensions);
	put_usage(&row, response);
	put(&row,
		Int64GetDatum(response->completed_at),
		response->completed_at == 0);
	put_jsonb(&row, response->background_request);
	put_text(&row, response->worker_id);
	put_timestamp(&row, response->worker_heartbeat);
	put(&row, Int32GetDatum(response->attempt_count), false);
	put_timestamp(&row, response->deleted_at);
	put_timestamp(&row, response->ended_at);
	statement_execute(&update_response, row.values, row.nulls);
	SPI_finish();
}

bool
responses_durable_next_queued(const char *tenant_id, ResponseKey *key)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum values[1];
	bool found;

	SPI_connect();
	values[0] = CStringGetTextDatum(tenant_id);
	statement_execute(&next_queued, values, NULL);
	found = SPI_processed == 1;
	if (found)
	{
		bool isnull;
		Datum id = statement_value(0, 1, &isnull);
		Datum tenant = statement_value(0, 2, &isnull);

		key->id = MemoryContextStrdup(caller, TextDatumGetCString(id));
		key->tenant_id =
			MemoryContextStrdup(caller, TextDatumGetCString(tenant));
	}
	SPI_finish();
	return found;
}

/* Deforms all columns at once: one by one, each starts from the first. */
static Response *
copy_row(uint64 number)
{
	Response *response = palloc0(sizeof(Response));
	bool nulls[COLUMNS];
	Row row;

	heap_deform_tuple(SPI_tuptable->vals[number],
					  SPI_tuptable->tupdesc,
					  row.values,
					  nulls);
	for (int i = 0; i < COLUMNS; i++)
		row.nulls[i] = nulls[i] ? 'n' : ' ';
	response->id = copy_text(&row, COLUMN_ID);
	response->tenant_id = copy_text(&row, COLUMN_TENANT_ID);
	response->owner = copy_text(&row, COLUMN_OWNER);
	response->status = copy_text(&row, COLUMN_STATUS);
	response->model = copy_text(&row, COLUMN_MODEL);
	response->previous_response_id = copy_text(&row, COLUMN_PREVIOUS);
	response->input = copy_jsonb(&row, COLUMN_INPUT);
	response->output = copy_jsonb(&row, COLUMN_OUTPUT);
	response->error = copy_jsonb(&row, COLUMN_ERROR);
	response->extensions = copy_jsonb(&row, COLUMN_EXTENSIONS);
	for (int i = 0; i < RESPONSES_USAGES; i++)
		response->usage[i] = read_int(&row, COLUMN_USAGE_INPUT + i);
	response->created_at = read_bigint(&row, COLUMN_CREATED_AT, 0);
	response->completed_at = read_bigint(&row, COLUMN_COMPLETED_AT, 0);
	response->background = DatumGetBool(row.values[COLUMN_BACKGROUND - 1]);
	response->background_request = copy_jsonb(&row, COLUMN_BACKGROUND_REQUEST);
	response->worker_id = copy_text(&row, COLUMN_WORKER_ID);
	response->worker_heartbeat =
		read_bigint(&row, COLUMN_WORKER_HEARTBEAT, DT_NOBEGIN);
	response->attempt_count = read_int(&row, COLUMN_ATTEMPT_COUNT);
	response->deleted_at = read_bigint(&row, COLUMN_DELETED_AT, DT_NOBEGIN);
	response->ended_at = read_bigint(&row, COLUMN_ENDED_AT, DT_NOBEGIN);
	return response;
}

static char *
copy_text(const Row *row, int column)
{
	return row->nulls[column - 1] == 'n'
			   ? NULL
			   : TextDatumGetCString(row->values[column - 1]);
}

static Jsonb *
copy_jsonb(const Row *row, int column)
{
	return row->nulls[column - 1] == 'n'
			   ? NULL
			   : DatumGetJsonbPCopy(row->values[column - 1]);
}

static int32
read_int(const Row *row, int column)
{
	return DatumGetInt32(row->values[column - 1]);
}

/* Also reads a timestamp. */
static int64
read_bigint(const Row *row, int column, int64 if_null)
{
	return row->nulls[column - 1] == 'n'
			   ? if_null
			   : DatumGetInt64(row->values[column - 1]);
}

static void
put(Row *row, Datum value, bool isnull)
{
	row->values[row->n] = value;
	row->nulls[row->n++] = isnull ? 'n' : ' ';
}

static void
put_text(Row *row, const char *text)
{
	put(row,
		text != NULL ? CStringGetTextDatum(text) : (Datum) 0,
		text == NULL);
}

static void
put_jsonb(Row *row, const Jsonb *jsonb)
{
	put(row, PointerGetDatum(jsonb), jsonb == NULL);
}

/* The exact value of a number beyond the column is in the extensions. */
static void
put_usage(Row *row, const Response *response)
{
	for (int i = 0; i < RESPONSES_USAGES; i++)
		put(row,
			Int32GetDatum((int32) Min(response->usage[i], PG_INT32_MAX)),
			false);
}

static void
put_timestamp(Row *row, TimestampTz timestamp)
{
	put(row, TimestampTzGetDatum(timestamp), timestamp == DT_NOBEGIN);
}

/* A scalar is stored as an array with one element. */
static bool
is_array(Datum document)
{
	uint32 head = head_of(document);

	return (head & JB_FARRAY) != 0 && (head & JB_FSCALAR) == 0;
}

/* Of a document that may be large, compressed or stored out of line. */
static uint32
head_of(Datum document)
{
	struct varlena *start = PG_DETOAST_DATUM_SLICE(document, 0, sizeof(uint32));
	uint32 head;

	memcpy(&head, VARDATA_ANY(start), sizeof(uint32));
	return head;
}

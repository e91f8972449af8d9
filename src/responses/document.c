/*
 * responses/document.c: the JSON of a response, taken apart and put together.
 *
 * Fields that are searched, chained or changed are held by themselves. All
 * others are kept as they came, in the extensions, and so is what a field of
 * its own cannot hold: a null that was said, a usage with details. What was
 * saved therefore comes back with every field equal.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "inbox/inbox.h"
#include "responses/responses.h"
#include "server/errors.h"
#include "server/settings.h"

#define NOT_SAID PG_INT64_MIN

/* Unix time that is a number in any JSON reader. */
#define LAST_SECOND INT64CONST(9007199254740991)

/* Takes over a field that is not only kept. */
typedef void (*FieldReader)(Response *response, const JsonbValue *value);

typedef struct Field
{
	const char *name;
	FieldReader read; /* NULL: the field cannot be changed */
} Field;

static const char *const statuses[] = {"queued",
									   "in_progress",
									   "completed",
									   "incomplete",
									   "failed",
									   "cancelled",
									   "requires_action"};

static const char *const usage_names[RESPONSES_USAGES] = {"input_tokens",
														  "output_tokens",
														  "total_tokens"};

static void check_bytes(Size bytes);
static Size jsonb_bytes(const Jsonb *jsonb);
static void read_fields(Response *response,
						Jsonb *document,
						const Field *fields,
						int nfields);
static const Field *
find_field(const JsonbValue *key, const Field *fields, int nfields);
static bool is_key(const JsonbValue *key, const char *name);
static bool needs_extension(const JsonbValue *key, const JsonbValue *value);
static bool is_plain_usage(const JsonbValue *value);
static void read_id(Response *response, const JsonbValue *value);
static void read_object(Response *response, const JsonbValue *value);
static void read_status(Response *response, const JsonbValue *value);
static void read_model(Response *response, const JsonbValue *value);
static void read_previous(Response *response, const JsonbValue *value);
static void read_input(Response *response, const JsonbValue *value);
static void read_output(Response *response, const JsonbValue *value);
static void read_usage(Response *response, const JsonbValue *value);
static void read_error(Response *response, const JsonbValue *value);
static void read_created_at(Response *response, const JsonbValue *value);
static void read_completed_at(Response *response, const JsonbValue *value);
static void read_background(Response *response, const JsonbValue *value);
static void patch_status(Response *response, const JsonbValue *value);
static void patch_heartbeat(Response *response, const JsonbValue *value);
static void check_status(const char *status);
static void check_required(const Response *response);
static void check_background(const Response *response);
static char *read_text(const char *field, const JsonbValue *value);
static Jsonb *read_array(const char *field, const JsonbValue *value);
static int64 read_integer(const char *field,
						  const JsonbValue *value,
						  int64 least,
						  int64 greatest);
static Jsonb *wrap_jsonb(const JsonbValue *value);
static Jsonb *empty_array(void);
static void push_key(JsonbParseState **state, const char *key);
static void
push_text(JsonbParseState **state, const char *key, const char *text);
static void push_number(JsonbParseState **state, const char *key, int64 number);
static void push_jsonb(JsonbParseState **state, const char *key, Jsonb *value);
static void push_usage(JsonbParseState **state, const Response *response);
static void push_extensions(JsonbParseState **state,
							const Response *response,
							Jsonb *document);

static const Field document_fields[] = {
	{"id", read_id},
	{"object", read_object},
	{"status", read_status},
	{"model", read_model},
	{"previous_response_id", read_previous},
	{"input", read_input},
	{"output", read_output},
	{"usage", read_usage},
	{"error", read_error},
	{"created_at", read_created_at},
	{"completed_at", read_completed_at},
	{"background", read_background},
};

/* What identifies a response, and what only the store writes, stays. */
static const Field patch_fields[] = {
	{"status", patch_status},
	{"output", read_output},
	{"usage", read_usage},
	{"error", read_error},
	{"completed_at", read_completed_at},
	{"worker_heartbeat", patch_heartbeat},
	{"id", NULL},
	{"object", NULL},
	{"tenant_id", NULL},
	{"owner", NULL},
	{"model", NULL},
	{"previous_response_id", NULL},
	{"input", NULL},
	{"created_at", NULL},
	{"background", NULL},
	{"store", NULL},
	{"worker_id", NULL},
	{"background_request", NULL},
	{"attempt_count", NULL},
	{"deleted_at", NULL},
};

Response *
responses_read_document(Jsonb *document)
{
	Response *response;

	if (!JB_ROOT_IS_OBJECT(document))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("response is not an object"),
				 errdetail("A response is a JSON object with at least the "
						   "fields \"id\", \"status\" and \"model\".")));
	responses_check_size(document);
	response = responses_take_document(document);
	check_required(response);
	check_background(response);
	return response;
}

Response *
responses_take_document(Jsonb *document)
{
	Response *response = palloc0(sizeof(Response));

	response->created_at = NOT_SAID;
	response->worker_heartbeat = DT_NOBEGIN;
	response->deleted_at = DT_NOBEGIN;
	read_fields(response, document, document_fields, lengthof(document_fields));
	if (response->input == NULL)
		response->input = empty_array();
	if (response->output == NULL)
		response->output = empty_array();
	if (response->created_at == NOT_SAID)
		response->created_at =
			(int64) timestamptz_to_time_t(GetCurrentTimestamp());
	return response;
}

Jsonb *
responses_make_document(const Response *response)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "id", response->id);
	push_text(&state, "object", "response");
	push_text(&state, "status", response->status);
	push_text(&state, "model", response->model);
	push_number(&state, "created_at", response->created_at);
	push_jsonb(&state, "input", response->input);
	push_jsonb(&state, "output", response->output);
	if (response->previous_response_id != NULL)
		push_text(&state,
				  "previous_response_id",
				  response->previous_response_id);
	if (response->error != NULL)
		push_jsonb(&state, "error", response->error);
	if (response->completed_at != 0)
		push_number(&state, "completed_at", response->completed_at);
	if (response->background)
	{
		JsonbValue value = {.type = jbvBool, .val.boolean = true};

		push_key(&state, "background");
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	push_usage(&state, response);
	push_extensions(&state, response, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

void
responses_apply_patch(Response *response, Jsonb *patch)
{
	if (!JB_ROOT_IS_OBJECT(patch))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("patch is not an object"),
				 errdetail("A patch is a JSON object of the fields to "
						   "change.")));
	responses_check_size(patch);
	read_fields(response, patch, patch_fields, lengthof(patch_fields));
	if (strcmp(response->status, "failed") == 0)
		response->output = empty_array();
	check_bytes(jsonb_bytes(response->input) + jsonb_bytes(response->output) +
				jsonb_bytes(response->error) +
				jsonb_bytes(response->extensions));
}

/*
 * As it is kept; and its numbers as they are printed, where ten bytes can have
 * become 128 kB: whoever reads the response would pay for each.
 */
void
responses_check_size(Jsonb *document)
{
	check_bytes(VARSIZE(document));
	check_bytes(inbox_measure_numbers(document, msgstore_max_response_bytes));
}

void
responses_check_id(const char *field, const char *id)
{
	if (id[0] == '\0')
		responses_refuse_field(field,
							   "is empty",
							   "An id is a text of 1 to 255 bytes.");
	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		responses_refuse_field(field,
							   "is too long",
							   "An id is a text of 1 to 255 bytes.");
}

/*
 * From the start to the end, and never back: what is finished stays as it is,
 * so that a worker that comes late cannot undo a cancellation.
 */
void
responses_check_move(const char *from, const char *to)
{
	static const char *const moves[][2] = {
		{"", "queued"},
		{"", "in_progress"},
		{"queued", "in_progress"},
		{"queued", "cancelled"},
		{"in_progress", "completed"},
		{"in_progress", "failed"},
		{"in_progress", "cancelled"},
		{"in_progress", "requires_action"},
	};

	for (Size i = 0; i < lengthof(moves); i++)
	{
		if (strcmp(moves[i][0], from) == 0 && strcmp(moves[i][1], to) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("invalid transition from %s to %s", from, to),
			 errdetail("A response goes from queued to in_progress or "
					   "cancelled, and from in_progress to completed, failed, "
					   "cancelled or requires_action."),
			 err_generic_string(PG_DIAG_COLUMN_NAME, "status")));
}

/* A response that failed has no output, whatever there was so far. */
void
responses_move(Response *response, const char *to)
{
	responses_check_move(response->status, to);
	response->status = pstrdup(to);
	if (strcmp(to, "failed") == 0)
		response->output = empty_array();
}

void
responses_refuse_field(const char *field,
					   const char *what,
					   const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("field \"%s\" %s", field, what),
			 errdetail("%s", expected),
			 err_generic_string(PG_DIAG_COLUMN_NAME, field)));
}

static void
check_bytes(Size bytes)
{
	if (bytes > (Size) msgstore_max_response_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_MS_TOO_LARGE),
				 errmsg("response of %zu bytes exceeds the limit of %d bytes",
						bytes,
						msgstore_max_response_bytes),
				 errhint("Save a smaller response or raise "
						 "\"msgstore.max_response_bytes\".")));
}

static Size
jsonb_bytes(const Jsonb *jsonb)
{
	return jsonb != NULL ? VARSIZE(jsonb) : 0;
}

/*
 * Hands each field to its reader; all others go to the extensions, in the
 * place of what was there under that name.
 */
static void
read_fields(Response *response,
			Jsonb *document,
			const Field *fields,
			int nfields)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbParseState *state = NULL;
	JsonbValue key;
	JsonbValue value;
	Jsonb *extensions;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_extensions(&state, response, document);
	(void) JsonbIteratorNext(&it, &value, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		const Field *field = find_field(&key, fields, nfields);

		(void) JsonbIteratorNext(&it, &value, true);
		if (field != NULL && field->read == NULL)
			responses_refuse_field(field->name,
								   "cannot be changed",
								   "It stays as it was saved.");
		if (field != NULL)
			field->read(response, &value);
		if (field == NULL || needs_extension(&key, &value))
		{
			pushJsonbValue(&state, WJB_KEY, &key);
			pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	extensions =
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	response->extensions = JB_ROOT_COUNT(extensions) > 0 ? extensions : NULL;
}

static const Field *
find_field(const JsonbValue *key, const Field *fields, int nfields)
{
	for (int i = 0; i < nfields; i++)
	{
		if (is_key(key, fields[i].name))
			return &fields[i];
	}
	return NULL;
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) &&
		   memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* Would the field, put together from its columns, not be what was said? */
static bool
needs_extension(const JsonbValue *key, const JsonbValue *value)
{
	if (is_key(key, "previous_response_id") || is_key(key, "completed_at"))
		return value->type == jbvNull;
	if (is_key(key, "background"))
		return value->type != jbvBool || !value->val.boolean;
	if (is_key(key, "usage"))
		return value->type == jbvNull || !is_plain_usage(value);
	return false;
}

/* The three numbers, not all of them zero, and nothing else. */
static bool
is_plain_usage(const JsonbValue *value)
{
	JsonbContainer *container = value->val.binary.data;
	bool has_tokens = false;

	if (JsonContainerSize(container) != RESPONSES_USAGES)
		return false;
	for (int i = 0; i < RESPONSES_USAGES; i++)
	{
		JsonbValue number;

		if (getKeyJsonValueFromContainer(container,
										 usage_names[i],
										 strlen(usage_names[i]),
										 &number) == NULL)
			return false;
		has_tokens =
			has_tokens || read_integer("usage", &number, 0, PG_INT32_MAX) > 0;
	}
	return has_tokens;
}

static void
read_id(Response *response, const JsonbValue *value)
{
	response->id = read_text("id", value);
	responses_check_id("id", response->id);
}

static void
read_object(Response *response, const JsonbValue *value)
{
	(void) response;
	if (strcmp(read_text("object", value), "response") != 0)
		responses_refuse_field("object",
							   "is not \"response\"",
							   "It may be left out.");
}

static void
read_status(Response *response, const JsonbValue *value)
{
	response->status = read_text("status", value);
	check_status(response->status);
}

static void
check_status(const char *status)
{
	for (Size i = 0; i < lengthof(statuses); i++)
	{
		if (strcmp(status, statuses[i]) == 0)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_MS_BAD_REQUEST),
			 errmsg("status \"%.*s\" does not exist",
					pg_mbcliplen(status, strlen(status), 63),
					status),
			 errdetail("A status is queued, in_progress, completed, "
					   "incomplete, failed, cancelled or requires_action."),
			 err_generic_string(PG_DIAG_COLUMN_NAME, "status")));
}

static void
read_model(Response *response, const JsonbValue *value)
{
	response->model = read_text("model", value);
}

static void
read_previous(Response *response, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	response->previous_response_id = read_text("previous_response_id", value);
	responses_check_id("previous_response_id", response->previous_response_id);
}

static void
read_input(Response *response, const JsonbValue *value)
{
	response->input = read_array("input", value);
}

static void
read_output(Response *response, const JsonbValue *value)
{
	response->output = read_array("output", value);
}

static void
read_usage(Response *response, const JsonbValue *value)
{
	if (value->type != jbvNull &&
		(value->type != jbvBinary ||
		 !JsonContainerIsObject(value->val.binary.data)))
		responses_refuse_field("usage",
							   "is not an object",
							   "It has input_tokens, output_tokens and "
							   "total_tokens.");
	for (int i = 0; i < RESPONSES_USAGES; i++)
	{
		JsonbValue number;

		response->usage[i] = 0;
		if (value->type != jbvNull &&
			getKeyJsonValueFromContainer(value->val.binary.data,
										 usage_names[i],
										 strlen(usage_names[i]),
										 &number) != NULL)
			response->usage[i] =
				(int32) read_integer(usage_names[i], &number, 0, PG_INT32_MAX);
	}
}

/* Whatever it is: errors have no form of their own. */
static void
read_error(Response *response, const JsonbValue *value)
{
	response->error = wrap_jsonb(value);
}

static void
read_created_at(Response *response, const JsonbValue *value)
{
	if (value->type != jbvNull)
		response->created_at =
			read_integer("created_at", value, 0, LAST_SECOND);
}

static void
read_completed_at(Response *response, const JsonbValue *value)
{
	response->completed_at =
		value->type == jbvNull
			? 0
			: read_integer("completed_at", value, 1, LAST_SECOND);
}

static void
read_background(Response *response, const JsonbValue *value)
{
	if (value->type != jbvBool && value->type != jbvNull)
		responses_refuse_field("background",
							   "is not a boolean",
							   "It is true for a response that a worker makes "
							   "later.");
	response->background = value->type == jbvBool && value->val.boolean;
}

static void
patch_status(Response *response, const JsonbValue *value)
{
	char *status = read_text("status", value);

	check_status(status);
	responses_check_move(response->status, status);
	response->status = status;
}

static void
patch_heartbeat(Response *response, const JsonbValue *value)
{
	if (value->type != jbvString ||
		!inbox_parse_timestamp(value->val.string.val,
							   value->val.string.len,
							   &response->worker_heartbeat))
		responses_refuse_field("worker_heartbeat",
							   "is not an instant",
							   "It looks like 2024-11-01T14:00:00Z.");
}

static void
check_required(const Response *response)
{
	static const char expected[] =
		"A response has at least the fields \"id\", \"status\" and \"model\".";

	if (response->id == NULL)
		responses_refuse_field("id", "is missing", expected);
	if (response->status == NULL)
		responses_refuse_field("status", "is missing", expected);
	if (response->model == NULL)
		responses_refuse_field("model", "is missing", expected);
	if (response->previous_response_id != NULL &&
		strcmp(response->previous_response_id, response->id) == 0)
		responses_refuse_field("previous_response_id",
							   "is the response's own id",
							   "A response continues from another one.");
}

/* What a worker makes later is to be found then, and nobody listens to it. */
static void
check_background(const Response *response)
{
	if (!response->background)
		return;
	if (responses_says(response, "store", false))
		responses_refuse_field("store",
							   "is false",
							   "A background response has to be stored.");
	if (responses_says(response, "stream", true))
		responses_refuse_field("stream",
							   "is true",
							   "A background response is not streamed.");
}

bool
responses_says(const Response *response, const char *name, bool what)
{
	JsonbValue value;

	return response->extensions != NULL &&
		   getKeyJsonValueFromContainer(&response->extensions->root,
										name,
										strlen(name),
										&value) != NULL &&
		   value.type == jbvBool && value.val.boolean == what;
}

static char *
read_text(const char *field, const JsonbValue *value)
{
	if (value->type != jbvString)
		responses_refuse_field(field, "is not a string", "It is a text.");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static Jsonb *
read_array(const char *field, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return empty_array();
	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		responses_refuse_field(field, "is not an array", "It holds items.");
	return wrap_jsonb(value);
}

/* Without a fraction, or with one of zeros. */
static int64
read_integer(const char *field,
			 const JsonbValue *value,
			 int64 least,
			 int64 greatest)
{
	char *digits;
	char *end;
	int64 number;

	if (value->type != jbvNumeric)
		responses_refuse_field(field, "is not a number", "It is an integer.");
	digits = DatumGetCString(
		DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	errno = 0;
	number = strtoll(digits, &end, 10);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0");
	if (*end != '\0' || errno != 0)
		responses_refuse_field(field, "is not an integer", "It is an integer.");
	if (number < least || number > greatest)
		responses_refuse_field(field,
							   "is out of range",
							   "It is a number that can be counted or dated.");
	return number;
}

static Jsonb *
wrap_jsonb(const JsonbValue *value)
{
	JsonbValue copy = *value;

	return JsonbValueToJsonb(&copy);
}

static Jsonb *
empty_array(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
push_text(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue value;

	push_key(state, key);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue value;

	push_key(state, key);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* A scalar stands in an array of its own. */
static void
push_jsonb(JsonbParseState **state, const char *key, Jsonb *jsonb)
{
	JsonbValue value;

	push_key(state, key);
	if (!JsonbExtractScalar(&jsonb->root, &value))
	{
		value.type = jbvBinary;
		value.val.binary.data = &jsonb->root;
		value.val.binary.len = VARSIZE_ANY_EXHDR(jsonb);
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Not where the extensions have it. */
static void
push_usage(JsonbParseState **state, const Response *response)
{
	bool has_tokens = false;

	for (int i = 0; i < RESPONSES_USAGES; i++)
		has_tokens = has_tokens || response->usage[i] > 0;
	if (!has_tokens)
		return;
	push_key(state, "usage");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < RESPONSES_USAGES; i++)
		push_number(state, usage_names[i], response->usage[i]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* All but those that the document has, too; of two of a name the last counts.
 */
static void
push_extensions(JsonbParseState **state,
				const Response *response,
				Jsonb *document)
{
	JsonbIterator *it;
	JsonbValue key;
	JsonbValue value;

	if (response->extensions == NULL)
		return;
	it = JsonbIteratorInit(&response->extensions->root);
	(void) JsonbIteratorNext(&it, &key, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&it, &value, true);
		if (document != NULL &&
			getKeyJsonValueFromContainer(&document->root,
										 key.val.string.val,
										 key.val.string.len,
										 &(JsonbValue){0}) != NULL)
			continue;
		pushJsonbValue(state, WJB_KEY, &key);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
}

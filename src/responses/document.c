/*
 * responses/document.c: reads documents and patches.
 *
 * Fields that are searched, chained or changed have columns. All others are
 * kept as they came, in the extensions, and so is a value that its column
 * cannot hold: an explicit null, or a usage with details. This is why what was
 * saved comes back with every field equal.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "inbox/payload.h"
#include "inbox/timestamp.h"
#include "responses/compose.h"
#include "responses/document.h"
#include "responses/fields.h"
#include "responses/items.h"
#include "responses/status.h"
#include "responses/turn.h"
#include "server/errors.h"
#include "server/jsonb_state.h"
#include "server/settings.h"

#define NOT_SAID PG_INT64_MIN

/* The greatest integer that every JSON reader keeps exact. */
#define LAST_INTEGER INT64CONST(9007199254740991)

/* Stores a field in its column. */
typedef void (*FieldReader)(Response *response, const JsonbValue *value);

typedef struct Field
{
	const char *name;
	FieldReader read; /* NULL: the field cannot be changed */
} Field;

static void check_bytes(Size bytes);
static Size jsonb_bytes(const Jsonb *jsonb);
static void read_fields(Response *response,
						Jsonb *document,
						const Field *fields,
						int nfields);
static void push_conversation(JsonbInState *state, JsonbValue *value);
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
static void read_conversation(Response *response, const JsonbValue *value);
static void read_input(Response *response, const JsonbValue *value);
static void read_output(Response *response, const JsonbValue *value);
static void read_usage(Response *response, const JsonbValue *value);
static void read_error(Response *response, const JsonbValue *value);
static void read_created_at(Response *response, const JsonbValue *value);
static void read_completed_at(Response *response, const JsonbValue *value);
static void read_background(Response *response, const JsonbValue *value);
static void patch_status(Response *response, const JsonbValue *value);
static void patch_heartbeat(Response *response, const JsonbValue *value);
static void check_required(const Response *response);
static void check_background(const Response *response);

static const Field document_fields[] = {
	{"id", read_id},
	{"object", read_object},
	{"status", read_status},
	{"model", read_model},
	{"previous_response_id", read_previous},
	{"conversation", read_conversation},
	{"input", read_input},
	{"output", read_output},
	{"usage", read_usage},
	{"error", read_error},
	{"created_at", read_created_at},
	{"completed_at", read_completed_at},
	{"background", read_background},
};

/* Without a reader: what identifies a response, and what only we write. */
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
	{"conversation", NULL},
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
				 errdetail("A response must be a JSON object with at least "
						   "the fields \"id\", \"status\" and \"model\".")));
	responses_check_size(document);
	response = responses_take_document(document);
	check_required(response);
	responses_check_items("input", response->input);
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
	response->ended_at = DT_NOBEGIN;
	read_fields(response, document, document_fields, lengthof(document_fields));
	if (response->input == NULL)
		response->input = responses_empty_array();
	if (response->output == NULL)
		response->output = responses_empty_array();
	if (response->created_at == NOT_SAID)
		response->created_at =
			(int64) timestamptz_to_time_t(GetCurrentTimestamp());
	return response;
}

void
responses_apply_patch(Response *response, Jsonb *patch)
{
	if (!JB_ROOT_IS_OBJECT(patch))
		ereport(ERROR,
				(errcode(ERRCODE_MS_BAD_REQUEST),
				 errmsg("patch is not an object"),
				 errdetail("A patch must be a JSON object of the fields to "
						   "change.")));
	responses_check_size(patch);
	read_fields(response, patch, patch_fields, lengthof(patch_fields));
	if (strcmp(response->status, "failed") == 0)
		response->output = responses_empty_array();
	check_bytes(jsonb_bytes(response->input) + jsonb_bytes(response->output) +
				jsonb_bytes(response->error) +
				jsonb_bytes(response->extensions));
}

/*
 * Measures the document as stored, and its numbers as printed: ten bytes of
 * input can print as 128 kB, which every reader of the response would pay for.
 */
void
responses_check_size(Jsonb *document)
{
	check_bytes(VARSIZE(document));
	check_bytes(inbox_measure_numbers(document, msgstore_max_response_bytes));
}

Size
responses_measure(Jsonb *document)
{
	return VARSIZE(document) +
		   inbox_measure_numbers(document, msgstore_max_response_bytes);
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
 * Passes each field to its reader. All other fields go to the extensions, where
 * they replace what had their name.
 */
static void
read_fields(Response *response,
			Jsonb *document,
			const Field *fields,
			int nfields)
{
	JsonbIterator *it = JsonbIteratorInit(&document->root);
	JsonbInState state = {0};
	JsonbValue key;
	JsonbValue value;
	Jsonb *extensions;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	responses_push_extensions(&state, response, document);
	(void) JsonbIteratorNext(&it, &value, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		const Field *field = find_field(&key, fields, nfields);

		(void) JsonbIteratorNext(&it, &value, true);
		if (field != NULL && field->read == NULL)
			responses_refuse_field(field->name,
								   "cannot be changed",
								   "Only status, output, usage, error, "
								   "completed_at, worker_heartbeat and fields "
								   "without a column can be changed.");
		if (field != NULL)
			field->read(response, &value);
		if (field == NULL || needs_extension(&key, &value))
		{
			pushJsonbValue(&state, WJB_KEY, &key);
			if (field != NULL && field->read == read_conversation)
				push_conversation(&state, &value);
			else
				pushJsonbValue(&state, WJB_VALUE, &value);
		}
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	extensions = JsonbValueToJsonb(state.result);
	response->extensions = JB_ROOT_COUNT(extensions) > 0 ? extensions : NULL;
}

/* An ID alone is stored as the object that the API returns. */
static void
push_conversation(JsonbInState *state, JsonbValue *value)
{
	JsonbValue key = {.type = jbvString,
					  .val.string.val = "id",
					  .val.string.len = 2};

	if (value->type != jbvString)
	{
		pushJsonbValue(state, WJB_VALUE, value);
		return;
	}
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
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

/* Would the document, composed from the columns, lose this value? */
static bool
needs_extension(const JsonbValue *key, const JsonbValue *value)
{
	if (is_key(key, "conversation"))
		return true;
	if (is_key(key, "previous_response_id"))
		return value->type == jbvNull;
	if (is_key(key, "created_at"))
		return responses_is_fraction(value);
	if (is_key(key, "completed_at"))
		return value->type == jbvNull || responses_is_fraction(value);
	if (is_key(key, "background"))
		return value->type != jbvBool || !value->val.boolean;
	if (is_key(key, "usage"))
		return value->type == jbvNull || !is_plain_usage(value);
	return false;
}

/* The three numbers, not all zero and none too large, and nothing else. */
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
		int64 tokens;

		if (getKeyJsonValueFromContainer(container,
										 responses_usage_names[i],
										 strlen(responses_usage_names[i]),
										 &number) == NULL)
			return false;
		tokens = responses_read_integer("usage", &number, 0, LAST_INTEGER);
		if (tokens > PG_INT32_MAX)
			return false;
		has_tokens = has_tokens || tokens > 0;
	}
	return has_tokens;
}

static void
read_id(Response *response, const JsonbValue *value)
{
	response->id = responses_read_text("id", value);
	responses_check_id("id", response->id);
}

static void
read_object(Response *response, const JsonbValue *value)
{
	(void) response;
	if (strcmp(responses_read_text("object", value), "response") != 0)
		responses_refuse_field("object",
							   "is not \"response\"",
							   "The field must be \"response\" or absent.");
}

static void
read_status(Response *response, const JsonbValue *value)
{
	response->status = responses_read_text("status", value);
	responses_check_status(response->status);
}

static void
read_model(Response *response, const JsonbValue *value)
{
	response->model = responses_read_text("model", value);
}

static void
read_previous(Response *response, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	response->previous_response_id =
		responses_read_text("previous_response_id", value);
	responses_check_id("previous_response_id", response->previous_response_id);
}

/* It is kept as an extension, where turn.c finds it. */
static void
read_conversation(Response *response, const JsonbValue *value)
{
	static const char expected[] =
		"The field must be the ID of a conversation, or an object with it.";
	JsonbValue id = *value;

	(void) response;
	if (value->type == jbvNull)
		return;
	if (value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data) &&
		getKeyJsonValueFromContainer(value->val.binary.data, "id", 2, &id) ==
			NULL)
		responses_refuse_field("conversation", "has no ID", expected);
	if (id.type != jbvString)
		responses_refuse_field("conversation", "is not an ID", expected);
	responses_check_id("conversation",
					   responses_read_text("conversation", &id));
}

static void
read_input(Response *response, const JsonbValue *value)
{
	response->input = value->type == jbvString
						  ? responses_make_message(value)
						  : responses_read_array("input", value);
}

static void
read_output(Response *response, const JsonbValue *value)
{
	response->output = responses_read_array("output", value);
}

static void
read_usage(Response *response, const JsonbValue *value)
{
	if (value->type != jbvNull &&
		(value->type != jbvBinary ||
		 !JsonContainerIsObject(value->val.binary.data)))
		responses_refuse_field("usage",
							   "is not an object",
							   "The field must be an object with input_tokens, "
							   "output_tokens and total_tokens.");
	for (int i = 0; i < RESPONSES_USAGES; i++)
	{
		JsonbValue number;

		response->usage[i] = 0;
		if (value->type != jbvNull &&
			getKeyJsonValueFromContainer(value->val.binary.data,
										 responses_usage_names[i],
										 strlen(responses_usage_names[i]),
										 &number) != NULL)
			response->usage[i] =
				responses_read_integer(responses_usage_names[i],
									   &number,
									   0,
									   LAST_INTEGER);
	}
}

/* An error may be any JSON value. */
static void
read_error(Response *response, const JsonbValue *value)
{
	response->error = responses_wrap_jsonb(value);
}

static void
read_created_at(Response *response, const JsonbValue *value)
{
	if (value->type != jbvNull)
		response->created_at =
			responses_read_seconds("created_at", value, 0, LAST_INTEGER);
}

static void
read_completed_at(Response *response, const JsonbValue *value)
{
	response->completed_at =
		value->type == jbvNull
			? 0
			: responses_read_seconds("completed_at", value, 1, LAST_INTEGER);
}

static void
read_background(Response *response, const JsonbValue *value)
{
	if (value->type != jbvBool && value->type != jbvNull)
		responses_refuse_field("background",
							   "is not a boolean",
							   "The field must be true, false or null.");
	response->background = value->type == jbvBool && value->val.boolean;
}

static void
patch_status(Response *response, const JsonbValue *value)
{
	char *status = responses_read_text("status", value);

	responses_check_status(status);
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
							   "is not a timestamp",
							   "The field must be an ISO 8601 timestamp, such "
							   "as 2024-11-01T14:00:00Z.");
}

static void
check_required(const Response *response)
{
	static const char expected[] =
		"A response must have the fields \"id\", \"status\" and \"model\".";

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
							   "A response cannot continue from itself.");
	if (response->previous_response_id != NULL &&
		turn_conversation(response) != NULL)
		responses_refuse_field("conversation",
							   "cannot be combined with "
							   "\"previous_response_id\"",
							   "A response continues from a response or from a "
							   "conversation.");
}

/* The worker must find the response later, and no client is connected then. */
static void
check_background(const Response *response)
{
	if (!response->background)
		return;
	if (responses_says(response, "store", false))
		responses_refuse_field("store",
							   "is false",
							   "A background response must be stored.");
	if (responses_says(response, "stream", true))
		responses_refuse_field("stream",
							   "is true",
							   "A background response cannot be streamed.");
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

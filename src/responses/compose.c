/*
 * responses/compose.c: puts the document of a response together.
 *
 * The document is its columns and its extensions. A field is in both only if
 * its column cannot hold what was saved; then the extension comes later and
 * wins.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "responses/compose.h"

static void push_key(JsonbInState *state, const char *key);
static void push_text(JsonbInState *state, const char *key, const char *text);
static void push_number(JsonbInState *state, const char *key, int64 number);
static void push_jsonb(JsonbInState *state, const char *key, Jsonb *value);
static void push_usage(JsonbInState *state, const Response *response);

const char *const responses_usage_names[RESPONSES_USAGES] = {"input_tokens",
															 "output_tokens",
															 "total_tokens"};

Jsonb *
responses_make_document(const Response *response)
{
	JsonbInState state = {0};

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
	responses_push_extensions(&state, response, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

static void
push_key(JsonbInState *state, const char *key)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
push_text(JsonbInState *state, const char *key, const char *text)
{
	JsonbValue value;

	push_key(state, key);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_number(JsonbInState *state, const char *key, int64 number)
{
	JsonbValue value;

	push_key(state, key);
	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* A scalar is stored as an array with one element. */
static void
push_jsonb(JsonbInState *state, const char *key, Jsonb *jsonb)
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

/* A usage that was saved as zeros is in the extensions. */
static void
push_usage(JsonbInState *state, const Response *response)
{
	bool has_tokens = false;

	for (int i = 0; i < RESPONSES_USAGES; i++)
		has_tokens = has_tokens || response->usage[i] > 0;
	if (!has_tokens)
		return;
	push_key(state, "usage");
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < RESPONSES_USAGES; i++)
		push_number(state, responses_usage_names[i], response->usage[i]);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

void
responses_push_extensions(JsonbInState *state,
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

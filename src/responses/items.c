/*
 * responses/items.c: checks the items of a response's input.
 *
 * Lists of items are read page by page, with the ID of an item as the cursor. A
 * cursor that names two items, or none, would make a client read the same page
 * again and again, or end too early.
 */
#include "postgres.h"

#include "responses/fields.h"
#include "responses/items.h"
#include "server/jsonb_state.h"

static const char expected_items[] =
	"The field must be an array of objects. Their IDs must be non-blank "
	"strings and must not repeat.";

static char *read_id(const char *field, JsonbContainer *item, int position);
static int compare_ids(const void *a, const void *b);
static void
push_string(JsonbInState *state, JsonbIteratorToken token, const char *string);

void
responses_check_items(const char *field, Jsonb *items)
{
	int n = JB_ROOT_COUNT(items);
	char **ids = palloc(sizeof(char *) * Max(n, 1));
	JsonbIterator *it = JsonbIteratorInit(&items->root);
	JsonbValue value;
	int i = 0;

	(void) JsonbIteratorNext(&it, &value, true);
	while (JsonbIteratorNext(&it, &value, true) == WJB_ELEM)
	{
		if (value.type != jbvBinary ||
			!JsonContainerIsObject(value.val.binary.data))
			responses_refuse_field(field,
								   "has an item that is not an object",
								   expected_items);
		ids[i] = read_id(field, value.val.binary.data, i + 1);
		i++;
	}
	qsort(ids, n, sizeof(char *), compare_ids);
	for (i = 1; i < n; i++)
	{
		if (strcmp(ids[i - 1], ids[i]) == 0)
			responses_refuse_field(
				field,
				psprintf("has two items with the ID \"%s\"", ids[i]),
				expected_items);
	}
}

/* The ID of the item; or the one that response_input_items() makes. */
static char *
read_id(const char *field, JsonbContainer *item, int position)
{
	JsonbValue id;

	if (getKeyJsonValueFromContainer(item, "id", 2, &id) == NULL ||
		id.type == jbvNull)
		return psprintf("item_%d", position);
	if (id.type != jbvString || id.val.string.len == 0)
		responses_refuse_field(field,
							   "has an item with an invalid ID",
							   expected_items);
	return pnstrdup(id.val.string.val, id.val.string.len);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

Jsonb *
responses_make_message(const JsonbValue *text)
{
	JsonbInState state = {0};
	JsonbValue copy = *text;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, "type");
	push_string(&state, WJB_VALUE, "message");
	push_string(&state, WJB_KEY, "role");
	push_string(&state, WJB_VALUE, "user");
	push_string(&state, WJB_KEY, "content");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, "type");
	push_string(&state, WJB_VALUE, "input_text");
	push_string(&state, WJB_KEY, "text");
	pushJsonbValue(&state, WJB_VALUE, &copy);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(state.result);
}

static void
push_string(JsonbInState *state, JsonbIteratorToken token, const char *string)
{
	JsonbValue value = {.type = jbvString,
						.val.string.val = unconstify(char *, string),
						.val.string.len = (int) strlen(string)};

	pushJsonbValue(state, token, &value);
}

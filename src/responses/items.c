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

static const char expected_items[] =
	"The field must be an array of objects. Their IDs must be non-blank "
	"strings and must not repeat.";

static char *read_id(const char *field, JsonbContainer *item, int position);
static int compare_ids(const void *a, const void *b);

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

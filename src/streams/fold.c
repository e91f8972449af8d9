/*
 * streams/fold.c: merge patches and other folds of a stream's events.
 *
 * A JSON merge patch (RFC 7396) is applied key by key while the result is
 * written; neither document becomes a tree in memory. The function is also the
 * transition function of the aggregate fold(), whose state is the document.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "server/jsonb_state.h"

static void merge_objects(JsonbInState *state,
						  JsonbContainer *target,
						  JsonbContainer *patch);
static void
push_merged(JsonbInState *state, JsonbValue *target, JsonbValue *patch);
static JsonbContainer *object_in(JsonbValue *value);
static bool
next_pair(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value);
static JsonbValue *
find_key(JsonbContainer *object, const JsonbValue *key, JsonbValue *found);

PG_FUNCTION_INFO_V1(msgstore_merge_patch);
PG_FUNCTION_INFO_V1(msgstore_last_known);

/* merge_patch(target, patch); null is an absent document or patch. */
Datum
msgstore_merge_patch(PG_FUNCTION_ARGS)
{
	Jsonb *target = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	Jsonb *patch = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	JsonbInState state = {0};
	JsonbContainer *base = NULL;

	if (patch == NULL && target == NULL)
		PG_RETURN_NULL();
	if (patch == NULL)
		PG_RETURN_JSONB_P(target);
	if (!JB_ROOT_IS_OBJECT(patch))
		PG_RETURN_JSONB_P(patch);
	if (target != NULL && JB_ROOT_IS_OBJECT(target))
		base = &target->root;
	merge_objects(&state, base, &patch->root);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(state.result));
}

/* Strict: neither the state nor the value is null. */
Datum
msgstore_last_known(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

/* A NULL target is the empty object. */
static void
merge_objects(JsonbInState *state,
			  JsonbContainer *target,
			  JsonbContainer *patch)
{
	JsonbIterator *iterator;
	JsonbValue key;
	JsonbValue value;
	JsonbValue other;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (target != NULL)
	{
		iterator = JsonbIteratorInit(target);
		while (next_pair(&iterator, &key, &value))
		{
			JsonbValue *change = find_key(patch, &key, &other);

			if (change != NULL && change->type == jbvNull)
				continue;
			pushJsonbValue(state, WJB_KEY, &key);
			if (change == NULL)
				pushJsonbValue(state, WJB_VALUE, &value);
			else
				push_merged(state, &value, change);
		}
	}
	iterator = JsonbIteratorInit(patch);
	while (next_pair(&iterator, &key, &value))
	{
		if (value.type == jbvNull ||
			(target != NULL && find_key(target, &key, &other) != NULL))
			continue;
		pushJsonbValue(state, WJB_KEY, &key);
		push_merged(state, NULL, &value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_merged(JsonbInState *state, JsonbValue *target, JsonbValue *patch)
{
	JsonbContainer *object = object_in(patch);

	if (object != NULL)
		merge_objects(state, object_in(target), object);
	else
		pushJsonbValue(state, WJB_VALUE, patch);
}

static JsonbContainer *
object_in(JsonbValue *value)
{
	if (value == NULL || value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return value->val.binary.data;
}

static bool
next_pair(JsonbIterator **iterator, JsonbValue *key, JsonbValue *value)
{
	JsonbIteratorToken token = JsonbIteratorNext(iterator, key, true);

	if (token == WJB_BEGIN_OBJECT)
		token = JsonbIteratorNext(iterator, key, true);
	if (token != WJB_KEY)
		return false;
	(void) JsonbIteratorNext(iterator, value, true);
	return true;
}

static JsonbValue *
find_key(JsonbContainer *object, const JsonbValue *key, JsonbValue *found)
{
	return getKeyJsonValueFromContainer(object,
										key->val.string.val,
										key->val.string.len,
										found);
}

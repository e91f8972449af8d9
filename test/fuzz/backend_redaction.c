/*
 * backend_redaction.c: no value of a listed key is left.
 *
 * An input is a line with the list of keys and the payload. The walk through
 * the result is written by other means than the one it checks: recursive, and
 * with the list as it stands.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "backend.h"
#include "inbox/payload.h"
#include "server/errors.h"
#include "server/settings.h"

#define MASK "***"

static bool is_listed(const JsonbValue *key);
static bool check_container(JsonbContainer *before, JsonbContainer *after);
static void
check_value(const JsonbValue *before, const JsonbValue *after, bool *changed);
static bool is_mask(const JsonbValue *value);
static bool is_same_scalar(const JsonbValue *a, const JsonbValue *b);

void
backend_redaction(const char *data, size_t size)
{
	Jsonb *payload;
	Jsonb *redacted;
	bool found;
	bool changed;

	msgstore_redact_keys = backend_take_line(&data, &size);
	inbox_assign_redact_keys(msgstore_redact_keys, NULL);
	payload = backend_parse_json(data, size);
	if (payload == NULL || !JB_ROOT_IS_OBJECT(payload))
	{
		free(payload);
		return;
	}
	inbox_measure_payload(payload, &found);
	redacted = inbox_redact_payload(payload);
	changed = check_container(&payload->root, &redacted->root);
	PROMISE(found == changed);
	inbox_measure_payload(redacted, &found);
	PROMISE(found == changed);
	free(payload);
}

/* Every pair and element is there, unchanged or masked; true: some are. */
static bool
check_container(JsonbContainer *before, JsonbContainer *after)
{
	JsonbIterator *old = JsonbIteratorInit(before);
	JsonbIterator *new = JsonbIteratorInit(after);
	JsonbValue old_value;
	JsonbValue new_value;
	JsonbIteratorToken token;
	bool changed = false;

	(void) JsonbIteratorNext(&old, &old_value, true);
	(void) JsonbIteratorNext(&new, &new_value, true);
	while ((token = JsonbIteratorNext(&old, &old_value, true)) != WJB_DONE)
	{
		PROMISE(JsonbIteratorNext(&new, &new_value, true) == token);
		if (token == WJB_KEY)
		{
			bool listed = is_listed(&new_value);

			PROMISE(is_same_scalar(&old_value, &new_value));
			token = JsonbIteratorNext(&old, &old_value, true);
			PROMISE(JsonbIteratorNext(&new, &new_value, true) == token);
			changed |= listed;
			if (listed)
				PROMISE(is_mask(&new_value));
			else
				check_value(&old_value, &new_value, &changed);
		}
		else if (token == WJB_ELEM)
			check_value(&old_value, &new_value, &changed);
	}
	PROMISE(JsonbIteratorNext(&new, &new_value, true) == WJB_DONE);
	return changed;
}

static void
check_value(const JsonbValue *before, const JsonbValue *after, bool *changed)
{
	PROMISE(before->type == after->type);
	if (before->type == jbvBinary)
		*changed |=
			check_container(before->val.binary.data, after->val.binary.data);
	else
		PROMISE(is_same_scalar(before, after));
}

static bool
is_listed(const JsonbValue *key)
{
	char *list = pstrdup(msgstore_redact_keys);
	char *rest = NULL;

	for (char *word = strtok_r(list, ", ", &rest); word != NULL;
		 word = strtok_r(NULL, ", ", &rest))
		if ((int) strlen(word) == key->val.string.len &&
			pg_strncasecmp(word, key->val.string.val, key->val.string.len) == 0)
			return true;
	return false;
}

static bool
is_mask(const JsonbValue *value)
{
	return value->type == jbvString &&
		   value->val.string.len == (int) strlen(MASK) &&
		   memcmp(value->val.string.val, MASK, strlen(MASK)) == 0;
}

static bool
is_same_scalar(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				   memcmp(a->val.string.val,
						  b->val.string.val,
						  a->val.string.len) == 0;
		case jbvNumeric:
			return VARSIZE_ANY(a->val.numeric) == VARSIZE_ANY(b->val.numeric) &&
				   memcmp(a->val.numeric,
						  b->val.numeric,
						  VARSIZE_ANY(a->val.numeric)) == 0;
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		default:
			return a->type == jbvNull;
	}
}

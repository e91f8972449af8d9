/*
 * backend_json.c: the gateway's check of JSON and the server's parser.
 *
 * A body goes into a batch with the bodies of others once the gateway has
 * found it to be an object, so the server must take all that the gateway
 * takes, and what the gateway refuses must not have been an object to the
 * server, save for its depth, and for an exponent that only newer servers
 * accept. What the gateway writes itself the server must
 * read as it was meant.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "../../gateway/http/json.h"
#include "../../gateway/text.h"
#include "backend.h"
#include "inbox/json_text.h"

static void check_object(const char *data, size_t size);
static bool has_newer_exponent(const char *data, size_t size);
static void check_replaced(const char *data, size_t size);
static void check_written(const char *data, size_t size);

void
backend_json(const char *data, size_t size)
{
	check_object(data, size);
	check_replaced(data, size);
	check_written(data, size);
}

static void
check_object(const char *data, size_t size)
{
	Jsonb *parsed = backend_parse_json(data, size);
	bool is_object = parsed != NULL && JB_ROOT_IS_OBJECT(parsed) &&
					 !JB_ROOT_IS_SCALAR(parsed);
	JsonFault fault;

	if (json_is_object(data, size, &fault))
		PROMISE(is_object);
	else
		PROMISE(!is_object ||
				strcmp(fault.why, "body is nested too deeply") == 0 ||
				has_newer_exponent(data, size));
	free(parsed);
}

/* The gateway refuses this exponent for all versions, as PostgreSQL 15 does. */
static bool
has_newer_exponent(const char *data, size_t size)
{
	static const char exponent[] = "1073741823";

	return PG_VERSION_NUM >= 160000 &&
		   memmem(data, size, exponent, sizeof(exponent) - 1) != NULL;
}

/* What is replaced made the server refuse the text, and does so no more. */
static void
check_replaced(const char *data, size_t size)
{
	char *copy = malloc(size + 1);
	size_t at = 0;

	memcpy(copy, data, size);
	if (json_text_replace(copy, size, JSON_TEXT_REPLACEMENT))
	{
		PROMISE(backend_parse_json(data, size) == NULL);
		PROMISE(json_text_find(copy, size, &at) == JSON_TEXT_VALID);
		check_object(copy, size);
	}
	else
		PROMISE(memcmp(copy, data, size) == 0);
	free(copy);
}

/* Bytes become a JSON string, those that are not UTF-8 a sign for it. */
static void
check_written(const char *data, size_t size)
{
	Text text = {0};
	Jsonb *parsed;
	JsonbValue value;
	JsonFault fault;

	if (memchr(data, '\0', size) != NULL)
		return;
	text_add_string(&text, "{\"a\":");
	text_add_json(&text, data, size);
	text_add_string(&text, "}");
	PROMISE(json_is_object(text.data, text.length, &fault));
	parsed = backend_parse_json(text.data, text.length);
	PROMISE(parsed != NULL);
	getKeyJsonValueFromContainer(&parsed->root, "a", 1, &value);
	PROMISE(value.type == jbvString);
	if (pg_verify_mbstr(PG_UTF8, data, (int) size, true))
		PROMISE((size_t) value.val.string.len == size &&
				memcmp(value.val.string.val, data, size) == 0);
	free(parsed);
	text_free(&text);
}

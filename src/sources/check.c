/*
 * sources/check.c: finds in a request what its signature is made of.
 *
 * Where a value stands in the request, a jsonpath of the scheme has said; here
 * values are split and joined.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "sources/check.h"

static List *split(const char *list, char separator);

char *
check_text(Jsonb *object, const char *name)
{
	JsonbValue value;

	if (getKeyJsonValueFromContainer(&object->root,
									 name,
									 strlen(name),
									 &value) == NULL)
		return NULL;
	if (value.type == jbvNumeric)
		return DatumGetCString(
			DirectFunctionCall1(numeric_out,
								NumericGetDatum(value.val.numeric)));
	if (value.type != jbvString || value.val.string.len == 0)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * The signatures that a request carries. Option "list": "versions" is "v1,a
 * v1,b" (Standard Webhooks), "pairs" is "t=1,v1=a,v1=b" (Stripe); otherwise it
 * is one signature behind the option "prefix".
 */
List *
check_list_signatures(const Check *check, char **timestamp)
{
	char *sent = check_text(check->values, "signature");
	char *list = check_text(check->options, "list");
	char *prefix = check_text(check->options, "prefix");
	char *encoding = check_text(check->options, "encoding");
	List *signatures = NIL;
	List *parts;
	ListCell *cell;

	*timestamp = check_text(check->values, "timestamp");
	if (sent == NULL)
		return NIL;
	if (list == NULL)
		parts = list_make1(sent);
	else
		parts = split(sent, strcmp(list, "pairs") == 0 ? ',' : ' ');
	foreach (cell, parts)
	{
		char *part = lfirst(cell);
		size_t size = prefix != NULL ? strlen(prefix) : 0;

		if (list != NULL && strncmp(part, "t=", 2) == 0)
			*timestamp = part + 2;
		/* What another prefix announces is another kind of signature. */
		if (size > 0 && strncmp(part, prefix, size) != 0)
			continue;
		part += size;
		for (char *c = part;
			 encoding != NULL && strcmp(encoding, "hex") == 0 && *c != '\0';
			 c++)
			*c = pg_ascii_tolower((unsigned char) *c);
		signatures = lappend(signatures, part);
	}
	return signatures;
}

static List *
split(const char *list, char separator)
{
	List *parts = NIL;

	while (*list != '\0')
	{
		const char *stop = strchr(list, separator);
		size_t length = stop != NULL ? (size_t) (stop - list) : strlen(list);

		parts = lappend(parts,
						pnstrdup(list + strspn(list, " "),
								 length - Min(strspn(list, " "), length)));
		list += length + (stop != NULL);
	}
	return parts;
}

bool
check_fill_template(const Check *check,
					const char *timestamp,
					StringInfo signed_data)
{
	const char *at = check_text(check->options, "signed");

	if (at == NULL)
		at = "{body}";
	while (*at != '\0')
	{
		const char *stop = *at == '{' ? strchr(at, '}') : NULL;
		const char *value;
		char *name;

		if (stop == NULL)
		{
			appendStringInfoChar(signed_data, *at++);
			continue;
		}
		name = pnstrdup(at + 1, stop - at - 1);
		at = stop + 1;
		if (strcmp(name, "body") == 0)
		{
			appendBinaryStringInfo(signed_data,
								   check->body.data,
								   (int) check->body.length);
			continue;
		}
		if (strcmp(name, "timestamp") == 0)
			value = timestamp;
		else if (strcmp(name, "url") == 0)
			value = check->url;
		else
			value = check_text(check->values, name);
		if (value == NULL)
			return false;
		appendStringInfoString(signed_data, value);
	}
	return true;
}

char *
check_query_field(const char *url, const char *name)
{
	const char *query = strchr(url, '?');
	ListCell *cell;

	if (query == NULL)
		return NULL;
	foreach (cell, form_parse(query + 1, strlen(query + 1)))
	{
		FormField *field = lfirst(cell);

		if (field->name.length == strlen(name) &&
			memcmp(field->name.data, name, strlen(name)) == 0)
			return pnstrdup(field->value.data, field->value.length);
	}
	return NULL;
}

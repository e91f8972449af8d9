/*
 * backend_form.c: the bodies of webhooks: forms and HTML.
 *
 * The first line is the media type, what is behind it the body. Whatever it is,
 * the result can be stored, and what is told by its place lies in the body.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "backend.h"

extern Datum msgstore_decode_form(PG_FUNCTION_ARGS);
extern Datum msgstore_decode_multipart(PG_FUNCTION_ARGS);
extern Datum msgstore_html_to_text(PG_FUNCTION_ARGS);

static void check_multipart(const char *type, bytea *body, size_t size);
static void check_html(const char *data, size_t size);
static bytea *make_bytea(const char *data, size_t size);
static void check_jsonb(Jsonb *jsonb);
static void check_places(Jsonb *document, size_t size);
static void check_place(JsonbContainer *object, size_t size);
static int64 read_number(JsonbContainer *object, const char *name);

void
backend_form(const char *data, size_t size)
{
	char *type = backend_take_line(&data, &size);
	bytea *body;

	if (type == NULL)
		return;
	if (strcmp(type, "text/html") == 0)
	{
		check_html(data, size);
		return;
	}
	body = make_bytea(data, size);
	if (strncmp(type, "multipart/", 10) != 0)
		check_jsonb(DatumGetJsonbP(
			DirectFunctionCall1(msgstore_decode_form, PointerGetDatum(body))));
	else
		check_multipart(type, body, size);
	free(body);
}

/* The result can be NULL. */
static void
check_multipart(const char *type, bytea *body, size_t size)
{
	LOCAL_FCINFO(fcinfo, 3);
	Datum result;

	InitFunctionCallInfoData(*fcinfo, NULL, 3, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(type);
	fcinfo->args[1].value = PointerGetDatum(body);
	fcinfo->args[2].value = CStringGetTextDatum("mail");
	for (int i = 0; i < 3; i++)
		fcinfo->args[i].isnull = false;
	result = msgstore_decode_multipart(fcinfo);
	if (fcinfo->isnull)
		return;
	check_jsonb(DatumGetJsonbP(result));
	check_places(DatumGetJsonbP(result), size);
}

static void
check_html(const char *data, size_t size)
{
	char *html = backend_take_text(data, size);
	text *result;

	if (html == NULL)
		return;
	result = DatumGetTextPP(
		DirectFunctionCall1(msgstore_html_to_text, CStringGetTextDatum(html)));
	PROMISE(pg_verifymbstr(VARDATA_ANY(result),
						   (int) VARSIZE_ANY_EXHDR(result),
						   true));
}

/* In a piece of malloc, so that reading past its end is seen. */
static bytea *
make_bytea(const char *data, size_t size)
{
	bytea *made = malloc(size + VARHDRSZ);

	SET_VARSIZE(made, size + VARHDRSZ);
	memcpy(VARDATA(made), data, size);
	return made;
}

/* The server reads what it has written. */
static void
check_jsonb(Jsonb *jsonb)
{
	char *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	Jsonb *again = backend_parse_json(json, strlen(json));

	PROMISE(again != NULL);
	PROMISE(compareJsonbContainers(&again->root, &jsonb->root) == 0);
	free(again);
}

static void
check_places(Jsonb *document, size_t size)
{
	JsonbValue found;

	PROMISE(getKeyJsonValueFromContainer(&document->root, "files", 5, &found) !=
			NULL);
	for (uint32 i = 0; i < JsonContainerSize(found.val.binary.data); i++)
		check_place(getIthJsonbValueFromContainer(found.val.binary.data, i)
						->val.binary.data,
					size);
	if (getKeyJsonValueFromContainer(&document->root, "mail", 4, &found) !=
		NULL)
		check_place(found.val.binary.data, size);
}

static void
check_place(JsonbContainer *object, size_t size)
{
	int64 offset = read_number(object, "offset");
	int64 length = read_number(object, "size");

	PROMISE(offset >= 0 && length >= 0 && offset + length <= (int64) size);
}

static int64
read_number(JsonbContainer *object, const char *name)
{
	JsonbValue value;

	PROMISE(getKeyJsonValueFromContainer(object,
										 name,
										 (int) strlen(name),
										 &value) != NULL);
	return DatumGetInt64(
		DirectFunctionCall1(numeric_int8, NumericGetDatum(value.val.numeric)));
}

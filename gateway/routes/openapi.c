/*
 * openapi.c: the OpenAPI document of this gateway, made from the table of
 * routes, so that it cannot tell of other routes, parameters or bodies than
 * there are.
 *
 * Raw routes without a name are left out: providers call them, each in its own
 * way, and no client is generated for them.
 *
 * What the checks that all routes share can answer (routes.c) is not in the
 * table: it follows from the same columns as the checks themselves.
 */
#include <ctype.h>
#include <string.h>

#include "config/config.h"
#include "gateway.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "routes/schemas.h"
#include "routes/table.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char head[] =
	"{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"msgstore gateway\","
	"\"version\":\"" GATEWAY_VERSION "\",\"description\":\"Every path with "
	"GET also answers HEAD.\",\"license\":{\"name\":\"PostgreSQL License\","
	"\"identifier\":\"PostgreSQL\"}},\"paths\":{";

static const char headers[] =
	"\"headers\":{\"Retry-After\":{\"description\":\"Seconds\","
	"\"schema\":{\"type\":\"integer\"}}},";

static void write_path(const Config *config, int route, Text *out);
static const char *path_of(const Config *config, const Route *route);
static bool is_repeated(const Config *config, int route, const char *method);
static void
write_operation(const Config *config, const Route *route, Text *out);
static void write_parameters(const Route *route, Text *out);
static void write_query(const char *names, Text *out, bool *first);
static void write_parameter(const char *name,
							size_t length,
							const char *place,
							Text *out,
							bool *first);
static void write_statuses(const Route *route, Text *out);
static bool may_refuse(const Route *route, int status);
static void write_refusal(const Route *route, int status, Text *out);
static void write_content(const char *type, const char *schema, Text *out);
static void write_security(const Config *config, Scope scope, Text *out);
static void write_components(Text *out);
static void write_schemas(const Schema *list, size_t count, Text *out);

void
get_openapi(Request *request)
{
	const Config *config = request->gateway->config;
	bool first = true;
	Text out = {0};

	text_add_string(&out, head);
	for (int i = 0; i < routes_count; i++)
	{
		if (routes[i].name == NULL || is_repeated(config, i, NULL))
			continue;
		if (!first)
			text_add_string(&out, ",");
		first = false;
		write_path(config, i, &out);
	}
	write_components(&out);
	if (out.failed)
	{
		text_free(&out);
		reply_unavailable(request, "out of memory", 1);
	}
	else
		reply_body(request, 200, NULL, &out);
}

/* All operations of that route's path. */
static void
write_path(const Config *config, int route, Text *out)
{
	const char *path = path_of(config, &routes[route]);

	text_add_json(out, path, strlen(path));
	for (int i = route; i < routes_count; i++)
	{
		if (strcmp(path_of(config, &routes[i]), path) != 0 ||
			is_repeated(config, i, routes[i].method))
			continue;
		text_add_string(out, i == route ? ":{" : ",");
		write_operation(config, &routes[i], out);
	}
	text_add_string(out, "}");
}

static const char *
path_of(const Config *config, const Route *route)
{
	return route->path != NULL ? route->path : config->health_path;
}

/* An earlier route has the same path, and the same method unless it is NULL. */
static bool
is_repeated(const Config *config, int route, const char *method)
{
	const char *path = path_of(config, &routes[route]);

	for (int i = 0; i < route; i++)
	{
		if (strcmp(path_of(config, &routes[i]), path) == 0 &&
			(method == NULL || strcmp(routes[i].method, method) == 0))
			return true;
	}
	return false;
}

static void
write_operation(const Config *config, const Route *route, Text *out)
{
	text_add_string(out, "\"");
	for (const char *c = route->method; *c != '\0'; c++)
		text_addf(out, "%c", tolower((unsigned char) *c));
	text_addf(out,
			  "\":{\"operationId\":\"%s\",\"summary\":\"%s\","
			  "\"parameters\":[",
			  route->name,
			  route->summary);
	write_parameters(route, out);
	text_add_string(out, "],");
	if (route->body != NULL)
	{
		text_add_string(out, "\"requestBody\":{\"required\":true,");
		write_content("application/json", route->body, out);
		text_add_string(out, "}},");
	}
	write_security(config, route->scope, out);
	write_statuses(route, out);
	text_add_string(out, "}");
}

static void
write_parameters(const Route *route, Text *out)
{
	const char *variable =
		route->path != NULL ? strchr(route->path, '{') : NULL;
	bool first = true;

	for (; variable != NULL; variable = strchr(variable + 1, '{'))
		write_parameter(variable + 1,
						strcspn(variable + 1, "}"),
						"path",
						out,
						&first);
	write_query(route->query != NULL ? route->query : "", out, &first);
	if (route->keyed)
		write_parameter("Idempotency-Key", 15, "header", out, &first);
	if (route->conditional)
	{
		write_parameter("If-Match", 8, "header", out, &first);
		write_parameter("If-None-Match", 13, "header", out, &first);
	}
	write_parameter("X-Request-Id", 12, "header", out, &first);
}

/* A name that is written with escapes is one that was there before. */
static void
write_query(const char *names, Text *out, bool *first)
{
	for (const char *name = names; *name != '\0'; name += *name == ' ')
	{
		size_t length = strcspn(name, " ");

		if (memchr(name, '%', length) == NULL)
			write_parameter(name, length, "query", out, first);
		name += length;
	}
}

static void
write_parameter(const char *name,
				size_t length,
				const char *place,
				Text *out,
				bool *first)
{
	const char *rest = schemas_parameter(name, length);

	text_addf(out,
			  "%s{\"name\":\"%.*s\",\"in\":\"%s\"%s%s",
			  *first ? "" : ",",
			  (int) length,
			  name,
			  place,
			  strcmp(place, "path") == 0 ? ",\"required\":true" : "",
			  rest != NULL ? "," : "}");
	if (rest != NULL)
		text_add_string(out, rest + 1);
	*first = false;
}

static void
write_statuses(const Route *route, Text *out)
{
	static const int refusals[] =
		{400, 401, 403, 404, 406, 408, 409, 412, 413, 415, 429, 500, 503, 504};

	text_add_string(out, "\"responses\":{");
	for (int i = 0; i < ROUTE_STATUSES && route->statuses[i] != 0; i++)
	{
		text_addf(out,
				  "%s\"%d\":{\"description\":\"%s\",",
				  i > 0 ? "," : "",
				  route->statuses[i],
				  reply_phrase(route->statuses[i]));
		if (route->answer == NULL)
			text_add_string(out,
							"\"content\":{\"*/*\":{\"schema\":{\"type\":"
							"\"string\",\"format\":\"binary\"}}");
		else
			write_content("application/json", route->answer, out);
		if (route->type != NULL)
			text_addf(out,
					  ",\"%s\":{\"schema\":{\"type\":\"string\"}}",
					  route->type);
		text_add_string(out, "}}");
	}
	for (size_t i = 0; i < LENGTH(refusals); i++)
	{
		if (may_refuse(route, refusals[i]))
			write_refusal(route, refusals[i], out);
	}
	text_add_string(out, "}");
}

/* 400 is for a malformed head as well, 503 for a gateway that is stopping. */
static bool
may_refuse(const Route *route, int status)
{
	switch (status)
	{
		case 400:
		case 503:
			return true;
		case 401:
		case 403:
			return route->scope != SCOPE_NONE;
		case 406:
			return strcmp(route->method, "GET") == 0 && !route->raw;
		case 408:
		case 413:
		case 415:
			return route->body != NULL;
		case 429:
		case 500:
			return route->guarded;
	}
	for (int i = 0; i < ROUTE_STATUSES; i++)
	{
		if (route->refusals[i] == status)
			return true;
	}
	return false;
}

static void
write_refusal(const Route *route, int status, Text *out)
{
	bool api = route->path != NULL && strncmp(route->path, "/v1/", 4) == 0;

	text_addf(out,
			  ",\"%d\":{\"description\":\"%s\",%s",
			  status,
			  reply_phrase(status),
			  status == 429 || status == 503 ? headers : "");
	write_content("application/json", api ? "ApiError" : "Error", out);
	text_add_string(out, "}}");
}

/* The object stays open for another type. */
static void
write_content(const char *type, const char *schema, Text *out)
{
	text_addf(out,
			  "\"content\":{\"%s\":{\"schema\":{\"$ref\":"
			  "\"#/components/schemas/%s\"}}",
			  type,
			  schema);
}

/* The scope that a key needs, if keys are required at all. */
static void
write_security(const Config *config, Scope scope, Text *out)
{
	static const struct
	{
		Scope scope;
		const char *name;
	} names[] = {{SCOPE_INGEST, "ingest"},
				 {SCOPE_SEND, "send"},
				 {SCOPE_READ, "read"},
				 {SCOPE_RESPONSES, "responses"},
				 {SCOPE_APPEND, "append"},
				 {SCOPE_CONSUME, "consume"},
				 {SCOPE_OPERATE, "operate"}};

	if (!config->auth)
		return;
	for (size_t i = 0; i < LENGTH(names); i++)
	{
		if (names[i].scope == scope)
			text_addf(out, "\"security\":[{\"key\":[\"%s\"]}],", names[i].name);
	}
}

static void
write_components(Text *out)
{
	text_add_string(out,
					"},\"components\":{\"securitySchemes\":{\"key\":{"
					"\"type\":\"http\",\"scheme\":\"bearer\"}},"
					"\"schemas\":{");
	write_schemas(schemas, schemas_count, out);
	text_add_string(out, ",");
	write_schemas(stream_schemas, stream_schemas_count, out);
	text_add_string(out, "}}}");
}

static void
write_schemas(const Schema *list, size_t count, Text *out)
{
	for (size_t i = 0; i < count; i++)
	{
		text_addf(out, "%s\"%s\":", i > 0 ? "," : "", list[i].name);
		text_add_string(out, list[i].json);
	}
}

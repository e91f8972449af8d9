/*
 * request.c: any request, from its first line to the bytes of its answer.
 *
 * An input is a request as it comes over the wire, but that its body is what
 * is left, whatever its headers say. The whole gateway is linked but for its
 * main(); what touches the network or the database has its place taken here
 * (the linker's --wrap, so that nothing else has to be listed): civetweb's
 * connection is a struct, and the database answers what the first byte of the
 * input says. Seen to is what goes to either side: a parameter is UTF-8, an
 * item of a batch is one JSON object, an answer is well-formed HTTP with a
 * body of JSON, and the client's bytes are nowhere that they could end a line.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "gateway.h"
#include "http/json.h"
#include "http/reply.h"
#include "http/request.h"
#include "routes/routes.h"
#include "fuzz.h"

/* What stands for civetweb's connection. */
struct mg_connection
{
	struct mg_request_info info;
	const char *body;
	size_t body_left;
	Text answer;
};

/* What the database answers: success, a refusal of ours, other errors. */
static const char *const sqlstates[] =
	{"00000", "00000", "MS400", "MS409", "22023", "08006", "XX000"};

static Gateway gateway;
static const char *sqlstate;

/* Declared as what they stand in for, so that the compiler compares them. */
__typeof__(server_watch) __wrap_server_watch;
__typeof__(server_unwatch) __wrap_server_unwatch;
__typeof__(batch_store) __wrap_batch_store;
__typeof__(pool_borrow) __wrap_pool_borrow;
__typeof__(pool_return) __wrap_pool_return;
__typeof__(pool_counts) __wrap_pool_counts;
__typeof__(pool_query) __wrap_pool_query;
__typeof__(own_limit_get) __wrap_own_limit_get;

static void make_gateway(void);
static bool parse(char *text, size_t size, struct mg_connection *conn);
static bool parse_first_line(char *line, struct mg_request_info *info);
static bool parse_headers(char **at, char *end, struct mg_request_info *info);
static char *take_line(char **at, char *end);
static void check_answer(const Request *request, const Text *answer);
static void check_body(const Request *request, const char *body, size_t size);
static void check_parameter(const char *value);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mg_connection conn = {0};
	Request request;
	char *text;

	if (gateway.limits == NULL)
		make_gateway();
	if (size == 0)
		return 0;
	sqlstate = sqlstates[data[0] % (sizeof(sqlstates) / sizeof(sqlstates[0]))];
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	if (parse(text, size - 1, &conn))
	{
		request_open(&request, &gateway, &conn);
		if (request_is_ambiguous(&request))
			reply_error(&request, 400, "headers contradict each other");
		else
			routes_dispatch(&request);
		reply_send(&request);
		check_answer(&request, &conn.answer);
		request_close(&request);
	}
	text_free(&conn.answer);
	free(text);
	return 0;
}

/* With the defaults, and limits that are taken into account and not met. */
static void
make_gateway(void)
{
	char *argv[] = {"gateway", NULL};
	Text error = {0};

	unsetenv("DATABASE_URL");
	PROMISE(config_load(&gateway.config, 1, argv, &error));
	gateway.config.rate_limit_per_ip = 1000000000;
	gateway.config.rate_limit_per_sender = 1000000000;
	gateway.config.breaker_error_threshold = 1000000000;
	log_init(&gateway.log);
	/* Nothing is as high: the log is silent. */
	gateway.log.level = LOG_ERROR + 1;
	metrics_init(&gateway.metrics);
	provider_init(&gateway.provider, &gateway.config);
	gateway.limits = limits_create(&gateway.config, &gateway.metrics);
	PROMISE(gateway.limits != NULL);
}

/* As civetweb takes a request apart; false if it would refuse it by itself. */
static bool
parse(char *text, size_t size, struct mg_connection *conn)
{
	struct mg_request_info *info = &conn->info;
	char *at = text;
	char *end = text + size;
	const char *length;

	info->content_length = -1;
	strcpy(info->remote_addr, "127.0.0.1");
	if (!parse_first_line(take_line(&at, end), info) ||
		!parse_headers(&at, end, info))
		return false;
	conn->body = at;
	conn->body_left = (size_t) (end - at);
	length = mg_get_header(conn, "Content-Length");
	if (length != NULL)
		info->content_length = strtoll(length, NULL, 10);
	else if (mg_get_header(conn, "Transfer-Encoding") == NULL)
		info->content_length = 0;
	return info->content_length >= -1;
}

static bool
parse_first_line(char *line, struct mg_request_info *info)
{
	char *rest;
	char *query;

	if (line == NULL ||
		(info->request_method = strtok_r(line, " ", &rest)) == NULL ||
		(info->local_uri = strtok_r(NULL, " ", &rest)) == NULL ||
		info->local_uri[0] != '/' || strncmp(rest, "HTTP/", 5) != 0)
		return false;
	info->http_version = rest + 5;
	query = strchr(info->local_uri, '?');
	if (query != NULL)
	{
		*query = '\0';
		info->query_string = query + 1;
	}
	/* They differ in what civetweb has decoded or cleaned. */
	info->request_uri = info->local_uri;
	info->local_uri_raw = info->local_uri;
	return true;
}

/* The blank line stays as it came: civetweb looks at it and no more. */
static bool
parse_headers(char **at, char *end, struct mg_request_info *info)
{
	while (*at < end && **at != '\r' && **at != '\n')
	{
		char *line = take_line(at, end);
		char *value = line != NULL ? strchr(line, ':') : NULL;

		if (value == NULL || value == line)
			return false;
		*value++ = '\0';
		value += strspn(value, " ");
		if (info->num_headers == MG_MAX_HEADERS)
			continue;
		info->http_headers[info->num_headers].name = line;
		info->http_headers[info->num_headers++].value = value;
	}
	if (*at < end && **at == '\r')
		(*at)++;
	return *at < end && *(*at)++ == '\n';
}

/* The next line, its end replaced by a NUL; NULL if there is none. */
static char *
take_line(char **at, char *end)
{
	char *line = *at;
	char *stop = memchr(line, '\n', (size_t) (end - line));

	if (stop == NULL || memchr(line, '\0', (size_t) (stop - line)) != NULL)
		return NULL;
	*at = stop + 1;
	*stop = '\0';
	if (stop > line && stop[-1] == '\r')
		stop[-1] = '\0';
	return line;
}

/* One answer, of printable lines with a name each, and no line of others. */
static void
check_answer(const Request *request, const Text *answer)
{
	const char *at = answer->data;
	const char *body;
	int lines = 0;

	PROMISE(request->reply.status >= 200 && request->reply.status < 600);
	PROMISE(answer->length > 0);
	if (strncmp(at, "HTTP/1.1 100 Continue\r\n\r\n", 25) == 0)
		at += 25;
	PROMISE(strncmp(at, "HTTP/1.1 ", 9) == 0);
	body = strstr(at, "\r\n\r\n");
	PROMISE(body != NULL);
	for (; at < body; at += 2, lines++)
	{
		const char *colon = strchr(at, ':');
		const char *end = strstr(at, "\r\n");

		PROMISE(lines == 0 || (colon != NULL && colon < end));
		for (; at < end; at++)
			PROMISE(*at >= ' ' && *at <= '~');
	}
	check_body(request,
			   body + 4,
			   answer->length - (size_t) (body + 4 - answer->data));
	PROMISE(strlen(request->key) <= IDEMPOTENCY_KEY_MAX);
}

static void
check_body(const Request *request, const char *body, size_t size)
{
	const char *why;

	if (request_is_head(request))
		PROMISE(size == 0);
	else
	{
		PROMISE(size == request->reply.body.length);
		if (request->reply.content_type == NULL)
			PROMISE(json_is_object(body, size, &why));
	}
}

/* The server refuses other parameters; not even a NUL would arrive. */
static void
check_parameter(const char *value)
{
	if (value != NULL)
		PROMISE(utf8_valid(value, strlen(value)));
}

const struct mg_request_info *
mg_get_request_info(const struct mg_connection *conn)
{
	return &conn->info;
}

const char *
mg_get_header(const struct mg_connection *conn, const char *name)
{
	for (int i = 0; i < conn->info.num_headers; i++)
		if (strcasecmp(conn->info.http_headers[i].name, name) == 0)
			return conn->info.http_headers[i].value;
	return NULL;
}

int
mg_read(struct mg_connection *conn, void *buffer, size_t length)
{
	size_t n = length < conn->body_left ? length : conn->body_left;

	memcpy(buffer, conn->body, n);
	conn->body += n;
	conn->body_left -= n;
	return (int) n;
}

int
mg_write(struct mg_connection *conn, const void *bytes, size_t length)
{
	text_add(&conn->answer, bytes, length);
	return (int) length;
}

void
mg_disable_connection_keep_alive(struct mg_connection *conn)
{
	(void) conn;
}

void
__wrap_server_watch(struct mg_connection *conn, WatchKind kind, int64_t limit)
{
	(void) conn;
	(void) kind;
	(void) limit;
}

bool
__wrap_server_unwatch(struct mg_connection *conn)
{
	(void) conn;
	return false;
}

void
__wrap_batch_store(Batch *batch, BatchItem *item)
{
	const char *why;

	(void) batch;
	PROMISE(json_is_object(item->json.data, item->json.length, &why));
	strcpy(item->sqlstate, sqlstate);
	strcpy(item->message, "what the \"database\" says");
	strcpy(item->event_id, "018f4d2e-0000-7000-8000-000000000000");
	item->alone = true;
}

PoolConnection *
__wrap_pool_borrow(Pool *pool, long max_wait_ms, const char **why)
{
	(void) pool;
	(void) max_wait_ms;
	*why = "database is not reachable";
	return strcmp(sqlstate, "08006") == 0 ? NULL : (PoolConnection *) &gateway;
}

void
__wrap_pool_return(Pool *pool, PoolConnection *connection)
{
	(void) pool;
	(void) connection;
}

/* There is no limit. */
void
__wrap_own_limit_get(OwnLimit *limit, Caller *caller)
{
	(void) limit;
	(void) caller;
}

PoolCounts
__wrap_pool_counts(Pool *pool)
{
	(void) pool;
	return (PoolCounts){0};
}

/* A row of two columns: what all statements of the handlers can do with. */
QueryOutcome
__wrap_pool_query(PoolConnection *connection,
				  const char *tenant,
				  const char *sql,
				  int count,
				  const char *const *values)
{
	static char *const texts[] = {"{}", "{}"};
	PGresAttDesc columns[2] = {{.name = "a"}, {.name = "b"}};
	QueryOutcome outcome = {.result =
								PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK)};

	(void) connection;
	(void) sql;
	PROMISE(tenant[0] == '\0');
	for (int i = 0; i < count; i++)
		check_parameter(values[i]);
	strcpy(outcome.sqlstate, sqlstate);
	PQsetResultAttrs(outcome.result, 2, columns);
	for (int i = 0; i < 2; i++)
		PQsetvalue(outcome.result, 0, i, texts[i], 2);
	return outcome;
}

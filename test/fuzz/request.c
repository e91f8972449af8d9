/*
 * request.c: any request, from its first line to the bytes of its answer.
 *
 * An input is a request as sent over the wire, except that its body is all
 * that follows the headers, whatever they say. The whole gateway is linked
 * except main(). The functions that use the network or the database are
 * replaced here (by the linker's --wrap, so nothing else has to be listed):
 * civetweb's connection is a struct, and the first byte of the input selects
 * the database's answer. Checked is the output to both sides: parameters are
 * UTF-8, an item of a batch is one JSON object, an answer is well-formed HTTP
 * with a JSON body, and no byte from the client can end a line.
 */
#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "config/load.h"
#include "db/batch.h"
#include "db/cluster.h"
#include "db/pool.h"
#include "db/readiness.h"
#include "gateway.h"
#include "guard/limits.h"
#include "guard/own_limit.h"
#include "guard/sources.h"
#include "http/headers.h"
#include "http/json.h"
#include "http/reply.h"
#include "http/request.h"
#include "log.h"
#include "mail/mail.h"
#include "memory.h"
#include "metrics.h"
#include "routes/routes.h"
#include "mock/provider.h"
#include "fuzz.h"

/* Stands in for civetweb's connection. */
struct mg_connection
{
	struct mg_request_info info;
	const char *body;
	size_t body_left;
	Text answer;
};

/* The database's answers: success, an error of msgstore, other errors. */
static const char *const sqlstates[] =
	{"00000", "00000", "MS400", "MS409", "22023", "08006", "XX000"};

static Config config;
static Log log_lines;
static Metrics metrics;
static Memory memory;
static Provider provider;
static Gateway gateway = {.config = &config,
						  .log = &log_lines,
						  .metrics = &metrics,
						  .memory = &memory,
						  .provider = &provider};
static const char *sqlstate;

/* Where the database says that a webhook has an e-mail. */
static enum { MAIL_IN_NOTHING, MAIL_IN_FIELD, MAIL_IN_BODY } mail_in;

/* Declared with the types of the originals, so that the compiler checks them.
 */
__typeof__(batch_store) __wrap_batch_store;
__typeof__(cluster_batch) __wrap_cluster_batch;
__typeof__(pool_borrow) __wrap_pool_borrow;
__typeof__(pool_return) __wrap_pool_return;
__typeof__(pool_counts) __wrap_pool_counts;
__typeof__(pool_query) __wrap_pool_query;
__typeof__(pool_run) __wrap_pool_run;
__typeof__(own_limit_get) __wrap_own_limit_get;
__typeof__(readiness_ask) __wrap_readiness_ask;

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
	const char *fault;
	char *text;

	if (gateway.limits == NULL)
		make_gateway();
	if (size == 0)
		return 0;
	sqlstate = sqlstates[data[0] % (sizeof(sqlstates) / sizeof(sqlstates[0]))];
	mail_in = data[0] < 0x80   ? MAIL_IN_NOTHING
			  : data[0] < 0xc0 ? MAIL_IN_FIELD
							   : MAIL_IN_BODY;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	if (parse(text, size - 1, &conn))
	{
		request_open(&request, &gateway, &conn);
		fault = request_find_fault(&request);
		if (fault != NULL)
			reply_error(&request, 400, fault);
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

/* The default settings, with limits that are checked but never reached. */
static void
make_gateway(void)
{
	char *argv[] = {"gateway", NULL};
	Text error = {0};

	unsetenv("DATABASE_URL");
	PROMISE(config_load(&config, 1, argv, NULL, &error));
	config.rate_limit_per_ip = 1000000000;
	config.rate_limit_per_sender = 1000000000;
	config.breaker_error_threshold = 1000000000;
	log_init(&log_lines);
	/* No line has such a level, so nothing is logged. */
	log_lines.level = LOG_ERROR + 1;
	metrics_init(&metrics);
	memory_init(&memory, (size_t) config.max_buffer_bytes);
	provider_init(&provider, &config);
	mail_init();
	gateway.limits = limits_create(&config, &metrics);
	gateway.sources = sources_create(NULL);
	PROMISE(gateway.limits != NULL && gateway.sources != NULL);
}

/* Parses like civetweb; returns false if civetweb would refuse the request. */
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
	char *path;
	char *query;

	if (line == NULL ||
		(info->request_method = strtok_r(line, " ", &rest)) == NULL ||
		(path = strtok_r(NULL, " ", &rest)) == NULL || path[0] != '/' ||
		strncmp(rest, "HTTP/", 5) != 0)
		return false;
	info->http_version = rest + 5;
	query = strchr(path, '?');
	if (query != NULL)
	{
		*query = '\0';
		info->query_string = query + 1;
	}
	/* In civetweb they differ: local_uri is decoded and normalized. */
	info->request_uri = path;
	info->local_uri = path;
	info->local_uri_raw = path;
	return true;
}

/* The blank line is not overwritten, as in civetweb. */
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

/* The next line, NUL-terminated; NULL if there is none. */
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

/* One answer whose header lines are printable and have a name. */
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
	JsonFault fault;

	if (request_is_head(request))
		PROMISE(size == 0);
	else
	{
		bool json = request->reply.content_type == NULL &&
					request->reply.body.length > 0;

		/* A line break follows JSON. */
		PROMISE(size == request->reply.body.length + (json ? 1 : 0));
		if (json)
			PROMISE(json_is_object(body, size, &fault));
	}
}

/* The server refuses invalid UTF-8, and a NUL would cut the value. */
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
__wrap_batch_store(Batch *batch, BatchItem *item)
{
	JsonFault fault;

	(void) batch;
	PROMISE(json_is_object(item->json.data, item->json.length, &fault));
	strcpy(item->sqlstate, sqlstate);
	strcpy(item->message, "what the \"database\" says");
	strcpy(item->event_id, "018f4d2e-0000-7000-8000-000000000000");
	item->alone = true;
}

PoolConnection *
__wrap_pool_borrow(Pool *pool,
				   PoolClass class,
				   long max_wait_ms,
				   const char **why)
{
	(void) pool;
	(void) class;
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

/* The database is not a router. */
Batch *
__wrap_cluster_batch(Cluster *cluster, const char *tenant)
{
	(void) cluster;
	(void) tenant;
	return NULL;
}

/* No limit. */
void
__wrap_own_limit_get(OwnLimit *limit, Caller *caller)
{
	(void) limit;
	(void) caller;
}

/* One finding, and a state that depends on the input. */
void
__wrap_readiness_ask(Readiness *readiness, ReadinessAnswer *answer)
{
	(void) readiness;
	memset(answer, 0, sizeof(*answer));
	answer->state = strcmp(sqlstate, "08006") == 0 ? READINESS_NOT_READY
												   : READINESS_DEGRADED;
	text_add_string(&answer->why, "no worker runs");
	text_add_string(&answer->findings, "{\"finding\":\"no worker\"}");
}

PoolCounts
__wrap_pool_counts(Pool *pool)
{
	(void) pool;
	return (PoolCounts){0};
}

/* One row, which every handler can process. */
QueryOutcome
__wrap_pool_query(PoolConnection *connection,
				  const char *tenant,
				  const char *sql,
				  int count,
				  const char *const *values)
{
	const Statement statement = {.sql = sql, .count = count, .values = values};

	return __wrap_pool_run(connection, tenant, "", &statement);
}

/* Text parameters are UTF-8; an e-mail is found wherever the body ends. */
QueryOutcome
__wrap_pool_run(PoolConnection *connection,
				const char *tenant,
				const char *owner,
				const Statement *statement)
{
	static const char *const usual[] = {"{}", "{}"};
	static const char *const received[] =
		{"202", "text/plain", "ok", "accepted", "", ""};
	static const char *const limits[] = {"", "", "413", "", ""};
	static const char *const file[] = {"image/png", "inline", "\\x00ff", ""};
	char place[64];
	const char *mail[] = {"202", "", place, "mail", "", ""};
	const char *const *texts = usual;
	int ntexts = 2;
	PGresAttDesc columns[6] = {{.name = "a"}};
	QueryOutcome outcome = {.result =
								PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK)};

	(void) connection;
	PROMISE(tenant[0] == '\0' && owner[0] == '\0');
	for (int i = 0; i < statement->count; i++)
	{
		if (statement->formats == NULL || statement->formats[i] == 0)
			check_parameter(statement->values[i]);
	}
	if (strstr(statement->sql, "webhook_limits") != NULL)
	{
		texts = limits;
		ntexts = 5;
	}
	else if (strstr(statement->sql, "receive_webhook") != NULL)
	{
		/* The sixth parameter is the e-mail, the fourth the body. */
		bool first = statement->values[6] == NULL;

		if (mail_in == MAIL_IN_FIELD)
			strcpy(place, "{\"field\": \"mail\"}");
		else
			snprintf(place,
					 sizeof(place),
					 "{\"offset\": 0, \"size\": %d}",
					 statement->lengths[4]);
		texts = first && mail_in != MAIL_IN_NOTHING ? mail : received;
		ntexts = 6;
	}
	else if (strstr(statement->sql, "get_attachment") != NULL)
	{
		texts = file;
		ntexts = 4;
	}
	strcpy(outcome.sqlstate, sqlstate);
	for (int i = 1; i < ntexts; i++)
		columns[i].name = "b";
	PQsetResultAttrs(outcome.result, ntexts, columns);
	for (int i = 0; i < ntexts; i++)
		PQsetvalue(outcome.result,
				   0,
				   i,
				   (char *) texts[i],
				   (int) strlen(texts[i]));
	return outcome;
}

/*
 * request.h: what a handler sees of an HTTP request, and its answer.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <civetweb.h>

#include "caller.h"
#include "gateway.h"
#include "guard/limits.h"
#include "text.h"

#define REQUEST_ID_MAX 128
#define IDEMPOTENCY_KEY_MAX 255
#define PATH_SEGMENT_MAX 256
#define CURSOR_MAX 1024
#define RESPONSE_ID_MAX 255

/* What reply_send will send. */
typedef struct Reply
{
	int status; /* 0: no answer yet */
	Text body;
	const char *content_type; /* NULL: JSON */
	char allow[64];			  /* for 405 */
	const char *challenge;	  /* for 401 and 403; NULL: no header */
	long retry_after;		  /* seconds; 0: no header */
	long limit;				  /* requests a minute; 0: no headers */
	long limit_reset;		  /* seconds */
	bool simulated;			  /* made up by the mock provider */
	bool created;			  /* something new was stored */
	char param[64];			  /* what an error of /v1 is about, "" if unknown */
} Reply;

typedef struct Request
{
	Gateway *gateway;
	struct mg_connection *conn;
	const struct mg_request_info *info;
	int64_t started_us;
	char id[REQUEST_ID_MAX + 1];
	char traceparent[56]; /* "" if none was sent or it was not valid */
	char client[48];	  /* address, as the rate limit and the log see it */
	Caller caller;		  /* whose key it has */
	const char *path;	  /* without the query; never NULL */
	char segment[PATH_SEGMENT_MAX + 1]; /* what stands for {id}, decoded */
	char key[IDEMPOTENCY_KEY_MAX + 1];	/* idempotency key, "" if none */
	Text body;
	bool body_read;		/* nothing of it is left in the connection */
	bool close;			/* the connection does not outlive the answer */
	bool mock;			/* marked in the log */
	LimitTicket sender; /* counted for the sender, given back unless 2xx */
	Reply reply;
} Request;

void
request_open(Request *request, Gateway *gateway, struct mg_connection *conn);
void request_close(Request *request);

/* A header's value, or NULL. */
const char *request_header(const Request *request, const char *name);

bool request_is_head(const Request *request);

/* True if HTTP itself is broken in a way that makes the request's end unclear.
 */
bool request_is_ambiguous(const Request *request);

/* Is the body declared to be JSON? */
bool request_has_json_type(const Request *request);

/*
 * How much the Accept header wants that media type: 0 (not at all) to 1000.
 * exact is set if the type is named and not only covered by a wildcard.
 */
int request_accepts(const Request *request, const char *type, bool *exact);

/* These read or check a part; if they return false they have replied. */
bool request_read_body(Request *request);
bool request_check_json(Request *request);
bool request_read_key(Request *request);
bool
request_query_number(Request *request, const char *const *names, int *number);
bool request_query_text(Request *request,
						const char *name,
						char *value,
						size_t size,
						bool *given);

/*
 * The member of that name, or NULL. Of several the last one counts, as it does
 * for the database: what is looked at here is what is stored there.
 */
const struct cJSON *request_json_member(const struct cJSON *object,
										const char *name);

/* Copies a string member of the body; false if there is none. */
bool request_body_member(const Request *request,
						 const char *name,
						 char *value,
						 size_t size);

#endif /* REQUEST_H */

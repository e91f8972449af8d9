/*
 * exchange.h: one HTTP request and its answer, as data.
 *
 * This is a leaf that every layer may include. The HTTP layer fills in the
 * request and sends the answer, the guard adds the caller, and handlers set
 * the answer. Because the struct needs none of the layers, they need not
 * include each other.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include <civetweb.h>

#include "caller.h"
#include "memory.h"
#include "text.h"

#define REQUEST_ID_MAX 128
#define IDEMPOTENCY_KEY_MAX 255
#define PATH_SEGMENT_MAX 256
#define CURSOR_MAX 1024
#define RESPONSE_ID_MAX 255

/* As much of a path as the log shows. */
#define PATH_SHOWN_MAX 512

struct Connection;
struct Gateway;
struct Server;

/* The answer; reply_send writes it to the client. */
typedef struct Reply
{
	int status; /* 0: no answer yet */
	Text body;
	const char *content_type; /* NULL: JSON */
	char *kept_type; /* what content_type refers to, if it is to be freed */
	char allow[64];	 /* for 405 */
	const char *challenge; /* for 401 and 403; NULL: no header */
	Text headers;		   /* further lines */
	const char *policy;	   /* Content-Security-Policy; NULL: the setting's */
	bool cached;		   /* clients may keep it and ask whether it changed */
	bool open_ended;	   /* reply_head leaves out the length */
	const char *codings;   /* accepted ones, for 415; NULL: no header */
	long retry_after;	   /* seconds; 0: no header */
	long limit;			   /* that was exceeded; 0: no headers */
	long limit_reset;	   /* seconds */
	bool simulated;		   /* produced by the mock provider */
	bool created;		   /* the request stored something new */
	bool by_database;	   /* the database refused the request */
	char param[64];		   /* field at fault, for /v1; "" if unknown */
	char code[64];		   /* of the error, for /v1; "": the status's */
	char etag[24];		   /* without quotes; "": no header */
} Reply;

typedef struct Request
{
	struct Gateway *gateway;
	struct Server *server;
	struct mg_connection *conn;			/* NULL once it is deferred */
	const struct mg_request_info *info; /* likewise */
	struct Connection *connection;		/* NULL: no memory for one */
	int64_t started_us;
	char id[REQUEST_ID_MAX + 1];
	char traceparent[56]; /* "" if missing or invalid */
	char client[48];	  /* address, for rate limits and the log */
	Scope scope;		  /* what its route requires of a key */
	Caller caller;		  /* what the request's key stands for */
	const char *method;	  /* never NULL */
	const char *path;	  /* without the query; never NULL */
	/* The path's variable segment, decoded; otherwise its last one. */
	char segment[PATH_SEGMENT_MAX + 1];
	char second_segment[PATH_SEGMENT_MAX + 1]; /* "" if there is none */
	char key[IDEMPOTENCY_KEY_MAX + 1];		   /* idempotency key, "" if none */
	Text body;
	bool body_read;	 /* no byte of it is left in the connection */
	bool close;		 /* close the connection after the answer */
	bool persistent; /* unless close is set, the connection stays open */
	bool deferred;	 /* the answer is sent by server_answer */
	bool given_away; /* the answer is sent by somebody else */
	int route;		 /* its number, once it is known */
	bool guarded;	 /* has entered the breaker of its route */
	bool mock;		 /* mark the log line */
	char source_tenant[TENANT_MAX + 1]; /* of the webhook's source */
	size_t body_limit;	  /* of the body, in bytes; 0: the configured one */
	int too_large_status; /* for a larger one; 0: 413 */
	bool for_channel;	  /* segment names a channel: 404 if there is none */
	bool conditional;	  /* If-Match or If-None-Match: 412, not 409 */
	LimitTicket sender;	  /* counted for the sender, returned unless 2xx */
	MemoryShare memory;	  /* what body and reply take, if that is much */
	Reply reply;

	/* Copies for method and path of a deferred request. */
	char kept_method[8];
	char kept_path[PATH_SHOWN_MAX + 1];
} Request;

#endif /* EXCHANGE_H */

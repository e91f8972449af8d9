/*
 * responses/response.h: a stored response, as the files of this room pass it.
 */
#ifndef RESPONSES_RESPONSE_H
#define RESPONSES_RESPONSE_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* IDs are keys of indexes and of the in-memory store. */
#define RESPONSES_MAX_ID_BYTES 255

typedef enum ResponsesUsage
{
	RESPONSES_USAGE_INPUT,
	RESPONSES_USAGE_OUTPUT,
	RESPONSES_USAGE_TOTAL
} ResponsesUsage;

#define RESPONSES_USAGES (RESPONSES_USAGE_TOTAL + 1)

/* Identifies a response. Strings are allocated in the caller's context. */
typedef struct ResponseKey
{
	const char *tenant_id; /* NULL: the one that the session sees */
	const char *id;
} ResponseKey;

/* Only fields that say so may be NULL. Allocated in the caller's context. */
typedef struct Response
{
	char *id;
	char *tenant_id;
	char *owner;
	const char *status;
	char *model;
	char *previous_response_id; /* or NULL */
	Jsonb *input;
	Jsonb *output;
	Jsonb *error;	   /* or NULL */
	Jsonb *extensions; /* the document's other fields, or NULL */
	int64 usage[RESPONSES_USAGES];
	int64 created_at;	/* Unix seconds */
	int64 completed_at; /* Unix seconds; 0 for none */
	bool background;
	Jsonb *background_request;	  /* or NULL */
	char *worker_id;			  /* or NULL */
	TimestampTz worker_heartbeat; /* DT_NOBEGIN for none */
	int32 attempt_count;		  /* claims so far */
	TimestampTz deleted_at;		  /* DT_NOBEGIN for none */
	TimestampTz ended_at;		  /* stored as finished; DT_NOBEGIN for none */

	uint64 version; /* in the in-memory store; see memory.h */
} Response;

#endif /* RESPONSES_RESPONSE_H */

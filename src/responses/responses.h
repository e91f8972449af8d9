/*
 * responses/responses.h: a stored response, and what the room's files call of each other.
 *
 * A response is kept by one of two stores: the table, or the bounded one in
 * shared memory. Both find and change whole responses by id, whoever's they
 * are; whose they may be is looked at once, in responses.c.
 */
#ifndef RESPONSES_H
#define RESPONSES_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Ids are keys of indexes and of the store in memory. */
#define RESPONSES_MAX_ID_BYTES 255

typedef enum ResponsesUsage
{
	RESPONSES_USAGE_INPUT,
	RESPONSES_USAGE_OUTPUT,
	RESPONSES_USAGE_TOTAL
} ResponsesUsage;

#define RESPONSES_USAGES (RESPONSES_USAGE_TOTAL + 1)

/* Pointers that may be NULL say so. Allocated in the caller's context. */
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
	Jsonb *extensions; /* what has no field of its own, or NULL */
	int32 usage[RESPONSES_USAGES];
	int64 created_at;	/* Unix seconds */
	int64 completed_at; /* Unix seconds; 0 for none */
	bool background;
	Jsonb *background_request;	  /* or NULL */
	char *worker_id;			  /* or NULL */
	TimestampTz worker_heartbeat; /* DT_NOBEGIN for none */
	int32 attempt_count;		  /* claims so far */
	TimestampTz deleted_at;		  /* DT_NOBEGIN for none */

	uint64 version; /* of the store in memory, see responses/memory.h */
} Response;

/*
 * responses/document.c: documents and what they may be. What is wrong raises
 * MS400 or MS413 and names the field.
 */
extern Response *responses_read_document(Jsonb *document);
extern Response *responses_take_document(Jsonb *document); /* unchecked */
extern Jsonb *responses_make_document(const Response *response);
extern void responses_apply_patch(Response *response, Jsonb *patch);
extern void responses_check_size(Jsonb *document);
extern void responses_check_id(const char *field, const char *id);

/* Has the document that boolean, with that value? */
extern bool
responses_says(const Response *response, const char *name, bool what);

/* Raises MS400 unless the status may follow the other. */
extern void responses_check_move(const char *from, const char *to);
extern void responses_move(Response *response, const char *to);

/* The words of a request for a field that it cannot have. */
extern void responses_refuse_field(const char *field,
								   const char *what,
								   const char *expected)
	pg_attribute_noreturn();

/*
 * responses.c: whose response may be seen, and the stores behind it. The store
 * is the session's: msgstore.response_store.
 */
extern bool responses_are_in_memory(void);
extern bool responses_owner_allows(const char *owner,
								   bool is_admin,
								   const char *stored,
								   bool writing);
extern bool
responses_allow(const char *tenant_id, const char *owner, bool writing);
extern bool responses_are_deleted(const Response *response);
extern void responses_refuse_unknown(const char *id) pg_attribute_noreturn();

/* The response, whoever's and deleted or not, or NULL. */
extern Response *responses_find(const char *id);

/*
 * Changes a response: change works on a copy, and is called again if another
 * session was faster. If it returns false nothing is stored, and the result is
 * NULL, as for a response that is not there.
 */
typedef bool (*ResponsesChange)(Response *response, void *arg);
extern Response *
responses_change(const char *id, ResponsesChange change, void *arg);

/* responses/background.c: raises MS409 unless that worker holds the claim. */
extern void responses_check_claim(const Response *response,
								  const char *worker_id);

/*
 * responses/durable.c: the table. Each call connects to SPI by itself; results
 * are in the caller's context.
 */
extern bool responses_durable_insert(const Response *response);
extern Response *responses_durable_find(const char *id, bool lock);
extern List *responses_durable_find_chain(const char *id, int steps);
extern void responses_durable_update(const Response *response);
extern char *responses_durable_next_queued(const char *tenant_id);

/*
 * responses/memory.c: the bounded store in shared memory, of this database.
 * What does not fit raises MS413. A document that is read counts as used, and
 * a response that is found if the caller says so.
 */
extern bool responses_memory_is_there(void);
extern bool responses_memory_insert(const Response *response);
extern Response *responses_memory_find(const char *id, bool is_use);
extern Jsonb *responses_memory_document(const char *id, bool deleted_too);

/* False: the response is no longer the one that was found. */
extern bool responses_memory_update(const Response *response);
extern char *responses_memory_next_queued(const char *tenant_id);

/*
 * For the worker, connected to SPI and as the extension's owner: ends what was
 * silent and removes what is old, in both stores. Returns in how many
 * milliseconds to look again; -1: there are no background responses.
 */
extern long responses_housekeeping_turn(void);

/* For request_shmem and start_shmem of msgstore.c. */
extern void responses_shmem_request(void);
extern void responses_shmem_startup(void);

#endif /* RESPONSES_H */

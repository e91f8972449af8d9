/*
 * responses/memory.c: the in-memory store: responses in the blocks.
 *
 * A change is computed from a copy, without the lock, and stored only if the
 * response still has the version of the copy.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "responses/blocks.h"
#include "responses/compose.h"
#include "responses/document.h"
#include "responses/memory.h"
#include "responses/permission.h"
#include "server/errors.h"
#include "server/settings.h"

/* What lists need of a response. */
typedef struct Header
{
	BlockHead head;
	char *texts[PART_PREVIOUS + 1];
} Header;

static void make_image(const Response *response, BlockImage *image);
static void
set_part(BlockImage *image, BlockPart part, const void *bytes, uint32 length);
static void set_text(BlockImage *image, BlockPart part, const char *text);
static void set_jsonb(BlockImage *image, BlockPart part, const Jsonb *jsonb);
static bool is_allowed(uint32 block);
static bool is_queued(uint32 block, const char *tenant_id);
static bool is_older(uint32 block, uint32 than);
static Response *make_response(const BlockHead *head, char **parts);
static Header *copy_headers(uint64 *n);

PG_FUNCTION_INFO_V1(msgstore_memory_is_there);
PG_FUNCTION_INFO_V1(msgstore_memory_has_background);
PG_FUNCTION_INFO_V1(msgstore_memory_usage);
PG_FUNCTION_INFO_V1(msgstore_memory_responses);
PG_FUNCTION_INFO_V1(msgstore_forget_response);

Datum
msgstore_memory_is_there(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(blocks_are_there());
}

/* For the worker, whose own setting may name the other store. */
Datum
msgstore_memory_has_background(PG_FUNCTION_ARGS)
{
	BlockScan scan;
	uint32 block;
	bool found = false;

	(void) fcinfo;
	if (!blocks_are_there())
		PG_RETURN_BOOL(false);
	blocks_start_scan(&scan);
	blocks_lock(LW_SHARED);
	while (!found && (block = blocks_next(&scan)) != NO_BLOCK)
		found = blocks_head(block)->background;
	blocks_unlock();
	PG_RETURN_BOOL(found);
}

/* Of all databases: they share the memory. */
Datum
msgstore_memory_usage(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = {false};
	uint32 count = 0;
	Size bytes = 0;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type is not a row type");
	if (blocks_are_there())
	{
		blocks_lock(LW_SHARED);
		count = blocks_count();
		bytes = blocks_used();
		blocks_unlock();
	}
	values[0] = Int64GetDatum(count);
	values[1] = Int64GetDatum((int64) bytes);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Does not return documents. */
Datum
msgstore_memory_responses(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Header *headers;
	uint64 n;

	InitMaterializedSRF(fcinfo, 0);
	if (!responses_are_in_memory())
		return (Datum) 0;
	headers = copy_headers(&n);
	for (uint64 i = 0; i < n; i++)
	{
		BlockHead *head = &headers[i].head;
		Datum values[PART_PREVIOUS + 7];
		bool nulls[PART_PREVIOUS + 7] = {false};
		int column = 0;

		for (; column <= PART_PREVIOUS; column++)
		{
			nulls[column] = headers[i].texts[column] == NULL;
			if (!nulls[column])
				values[column] = CStringGetTextDatum(headers[i].texts[column]);
		}
		values[column++] = Int64GetDatum(head->created_at);
		values[column++] = BoolGetDatum(head->background);
		nulls[column] = head->worker_heartbeat == DT_NOBEGIN;
		values[column++] = TimestampTzGetDatum(head->worker_heartbeat);
		nulls[column] = head->deleted_at == DT_NOBEGIN;
		values[column++] = TimestampTzGetDatum(head->deleted_at);
		nulls[column] = head->ended_at == DT_NOBEGIN;
		values[column++] = TimestampTzGetDatum(head->ended_at);
		values[column++] = Int64GetDatum((int64) head->version);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
msgstore_forget_response(PG_FUNCTION_ARGS)
{
	char *tenant_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	uint64 version = (uint64) PG_GETARG_INT64(2);
	BlockHead key;
	uint32 block;
	bool found;

	if (!responses_are_in_memory())
		PG_RETURN_BOOL(false);
	blocks_make_key(&key, id);
	blocks_lock(LW_EXCLUSIVE);
	block = blocks_find(&key, tenant_id, id);
	found = block != NO_BLOCK && blocks_head(block)->version == version;
	if (found)
		blocks_drop(block);
	blocks_unlock();
	PG_RETURN_BOOL(found);
}

bool
responses_are_in_memory(void)
{
	if (msgstore_response_store != RESPONSES_MEMORY)
		return false;
	if (!blocks_are_there())
		ereport(ERROR,
				(errcode(ERRCODE_MS_UNAVAILABLE),
				 errmsg("in-memory response store is not available"),
				 errdetail("The store needs shared memory, which msgstore has "
						   "only when it is preloaded."),
				 errhint("Add msgstore to \"shared_preload_libraries\" and "
						 "restart the server, or set "
						 "\"msgstore.response_store\" to \"durable\".")));
	return true;
}

/* Looks for a duplicate first, so that it makes no other response leave. */
bool
responses_memory_insert(const Response *response)
{
	BlockImage image;
	bool is_new;

	make_image(response, &image);
	blocks_lock(LW_EXCLUSIVE);
	is_new =
		blocks_find(&image.head, response->tenant_id, response->id) == NO_BLOCK;
	if (is_new)
		blocks_add(&image);
	blocks_unlock();
	return is_new;
}

/* Reads the document after it has released the lock. */
Response *
responses_memory_find(const char *tenant_id, const char *id, bool is_use)
{
	char *parts[PARTS];
	BlockHead head;
	BlockHead key;
	uint32 block;

	blocks_make_key(&key, id);
	blocks_lock(LW_SHARED);
	block = blocks_find(&key, tenant_id, id);
	if (block != NO_BLOCK)
	{
		head = *blocks_head(block);
		for (int part = 0; part < PARTS; part++)
			parts[part] = blocks_copy_part(block, (BlockPart) part);
		if (is_use && is_allowed(block))
			blocks_touch(block);
	}
	blocks_unlock();
	return block != NO_BLOCK ? make_response(&head, parts) : NULL;
}

/* Copies under the lock, so that no response leaves between the matches. */
char *
responses_memory_tenant(const char *id, bool *several)
{
	char *first = NULL;
	BlockHead key;
	uint32 block;

	*several = false;
	blocks_make_key(&key, id);
	blocks_lock(LW_SHARED);
	for (block = blocks_first(&key, id); block != NO_BLOCK;
		 block = blocks_following(block, id))
	{
		char *tenant_id = blocks_copy_part(block, PART_TENANT_ID);

		*several = first != NULL;
		if (first == NULL || tenant_id[0] == '\0')
			first = tenant_id;
	}
	blocks_unlock();
	return first;
}

Jsonb *
responses_memory_document(const char *tenant_id,
						  const char *id,
						  bool deleted_too)
{
	Jsonb *document = NULL;
	BlockHead key;
	uint32 block;

	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		return NULL;
	blocks_make_key(&key, id);
	blocks_lock(LW_SHARED);
	block = blocks_find(&key, tenant_id, id);
	if (block != NO_BLOCK &&
		(deleted_too || blocks_head(block)->deleted_at == DT_NOBEGIN) &&
		is_allowed(block))
	{
		document = (Jsonb *) blocks_copy_part(block, PART_DOCUMENT);
		blocks_touch(block);
	}
	blocks_unlock();
	return document;
}

bool
responses_memory_update(const Response *response)
{
	BlockImage image;
	uint32 block;
	bool same;

	make_image(response, &image);
	blocks_lock(LW_EXCLUSIVE);
	block = blocks_find(&image.head, response->tenant_id, response->id);
	same =
		block != NO_BLOCK && blocks_head(block)->version == response->version;
	if (same)
	{
		blocks_drop(block);
		blocks_add(&image);
	}
	blocks_unlock();
	return same;
}

bool
responses_memory_next_queued(const char *tenant_id, ResponseKey *key)
{
	BlockScan scan;
	uint32 oldest = NO_BLOCK;
	uint32 block;

	blocks_start_scan(&scan);
	blocks_lock(LW_SHARED);
	while ((block = blocks_next(&scan)) != NO_BLOCK)
	{
		if (is_queued(block, tenant_id) && is_older(block, oldest))
			oldest = block;
	}
	if (oldest != NO_BLOCK)
	{
		key->id = blocks_copy_part(oldest, PART_ID);
		key->tenant_id = blocks_copy_part(oldest, PART_TENANT_ID);
	}
	blocks_unlock();
	return oldest != NO_BLOCK;
}

/* Refuses a response that would not fit into the empty store. */
static void
make_image(const Response *response, BlockImage *image)
{
	BlockHead *head = &image->head;
	Size bytes;

	memset(image, 0, sizeof(BlockImage));
	blocks_make_key(head, response->id);
	head->attempt_count = response->attempt_count;
	head->created_at = response->created_at;
	head->worker_heartbeat = response->worker_heartbeat;
	head->deleted_at = response->deleted_at;
	head->ended_at = response->ended_at;
	head->background = response->background;
	set_text(image, PART_ID, response->id);
	set_text(image, PART_TENANT_ID, response->tenant_id);
	set_text(image, PART_OWNER, response->owner);
	set_text(image, PART_STATUS, response->status);
	set_text(image, PART_MODEL, response->model);
	set_text(image, PART_PREVIOUS, response->previous_response_id);
	set_text(image, PART_WORKER_ID, response->worker_id);
	set_jsonb(image, PART_DOCUMENT, responses_make_document(response));
	set_jsonb(image, PART_REQUEST, response->background_request);
	bytes = blocks_measure(image);
	if (bytes > blocks_capacity())
		ereport(ERROR,
				(errcode(ERRCODE_MS_TOO_LARGE),
				 errmsg("response of %zu bytes exceeds the in-memory store of "
						"%zu bytes",
						bytes,
						blocks_capacity()),
				 errhint("Save a smaller response or raise "
						 "\"msgstore.memory_size\".")));
}

static void
set_part(BlockImage *image, BlockPart part, const void *bytes, uint32 length)
{
	image->parts[part] = bytes;
	image->head.lengths[part] = bytes != NULL ? length : ABSENT;
}

static void
set_text(BlockImage *image, BlockPart part, const char *text)
{
	set_part(image, part, text, text != NULL ? (uint32) strlen(text) : 0);
}

static void
set_jsonb(BlockImage *image, BlockPart part, const Jsonb *jsonb)
{
	set_part(image, part, jsonb, jsonb != NULL ? VARSIZE(jsonb) : 0);
}

static bool
is_allowed(uint32 block)
{
	return (msgstore_tenant_id[0] == '\0' && msgstore_owner[0] == '\0') ||
		   responses_allow(blocks_copy_part(block, PART_TENANT_ID),
						   blocks_copy_part(block, PART_OWNER),
						   false);
}

static bool
is_queued(uint32 block, const char *tenant_id)
{
	const BlockHead *head = blocks_head(block);

	return head->background && head->deleted_at == DT_NOBEGIN &&
		   strcmp(blocks_copy_part(block, PART_STATUS), "queued") == 0 &&
		   (tenant_id[0] == '\0' ||
			strcmp(blocks_copy_part(block, PART_TENANT_ID), tenant_id) == 0);
}

/* By creation time, then by ID. */
static bool
is_older(uint32 block, uint32 than)
{
	const BlockHead *a = blocks_head(block);
	const BlockHead *b;

	if (than == NO_BLOCK)
		return true;
	b = blocks_head(than);
	if (a->created_at != b->created_at)
		return a->created_at < b->created_at;
	return strcmp(blocks_copy_part(block, PART_ID),
				  blocks_copy_part(than, PART_ID)) < 0;
}

static Response *
make_response(const BlockHead *head, char **parts)
{
	Response *response =
		responses_take_document((Jsonb *) parts[PART_DOCUMENT]);

	response->tenant_id = parts[PART_TENANT_ID];
	response->owner = parts[PART_OWNER];
	response->background_request = (Jsonb *) parts[PART_REQUEST];
	response->worker_id = parts[PART_WORKER_ID];
	response->worker_heartbeat = head->worker_heartbeat;
	response->attempt_count = head->attempt_count;
	response->deleted_at = head->deleted_at;
	response->ended_at = head->ended_at;
	response->version = head->version;
	return response;
}

static Header *
copy_headers(uint64 *n)
{
	BlockScan scan;
	Header *headers;
	uint32 block;

	*n = 0;
	blocks_start_scan(&scan);
	blocks_lock(LW_SHARED);
	headers = MemoryContextAllocHuge(CurrentMemoryContext,
									 Max(blocks_count(), 1) * sizeof(Header));
	while ((block = blocks_next(&scan)) != NO_BLOCK)
	{
		Header *header = &headers[(*n)++];

		header->head = *blocks_head(block);
		for (int part = 0; part <= PART_PREVIOUS; part++)
			header->texts[part] = blocks_copy_part(block, (BlockPart) part);
	}
	blocks_unlock();
	return headers;
}

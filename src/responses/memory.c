/*
 * responses/memory.c: the bounded store: responses in shared memory.
 *
 * The memory is cut into blocks of one size. A response is a chain of them,
 * so that room for it is found without searching and what one leaves the next
 * one uses: nothing is ever fragmented. The first block begins with the
 * response's head, which stands in a hash table by the id and in a list by the
 * last use. When there is no room, or there would be too many, the least
 * recently used go.
 *
 * A lock is held shared to find and copy, exclusively to change. A read moves
 * its response to the list's front under a spinlock: readers do not wait for
 * each other while they copy. Nothing under the exclusive lock can fail, so
 * that an error leaves the store whole; what changes is computed before, from
 * a copy, and stored only if the response's version is still the copy's.
 *
 * A response belongs to a database and to its table of responses, by their
 * OIDs: an extension that is made anew begins with an empty store. Transactions
 * mean nothing here: what is saved is seen at once, and stays when they roll
 * back.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "responses/responses.h"
#include "server/errors.h"
#include "server/settings.h"

#define BLOCK_BYTES 1024
#define NO_BLOCK PG_UINT32_MAX

/* What of a response has no fixed size, in the order it is stored. */
typedef enum Part
{
	PART_ID, /* first: it is in the first block as a whole */
	PART_TENANT_ID,
	PART_OWNER,
	PART_STATUS,
	PART_MODEL,
	PART_PREVIOUS,
	PART_WORKER_ID,
	PART_DOCUMENT,
	PART_REQUEST
} Part;

#define PARTS (PART_REQUEST + 1)
#define ABSENT PG_UINT32_MAX

typedef struct Head
{
	Oid database;
	Oid table;
	uint32 hash;
	uint32 next_in_bucket;
	uint32 newer;
	uint32 older;
	uint32 nblocks;
	int32 attempt_count;
	uint64 version;
	int64 created_at;
	TimestampTz worker_heartbeat;
	TimestampTz deleted_at;
	bool background;
	uint32 lengths[PARTS]; /* ABSENT for none */
} Head;

/* Aligned, because the first one of a response holds its head. */
typedef union Block
{
	struct
	{
		uint32 next;
		uint32 unused;
		char data[BLOCK_BYTES - 2 * sizeof(uint32)];
	};
	int64 align;
} Block;

#define BLOCK_ROOM sizeof(((Block *) 0)->data)

StaticAssertDecl(sizeof(Head) + RESPONSES_MAX_ID_BYTES <= BLOCK_ROOM,
				 "an id does not fit beside the head");

typedef struct Store
{
	slock_t order; /* of the list, for those who hold the lock shared */
	uint32 newest;
	uint32 oldest;
	uint32 count;
	uint32 nblocks;
	uint32 nfree;
	uint32 first_free;	/* of those that were used before */
	uint32 first_fresh; /* from here on none was ever touched */
	uint32 nbuckets;	/* a power of two */
	uint64 last_version;
} Store;

/* A response as it is to be stored. */
typedef struct Image
{
	Head head;
	const char *parts[PARTS];
} Image;

/* A place in a chain of blocks. */
typedef struct Cursor
{
	uint32 block;
	uint32 offset;
} Cursor;

/* What the lists look at. */
typedef struct Header
{
	Head head;
	char *texts[PART_PREVIOUS + 1];
} Header;

static Store *store = NULL;
static uint32 *buckets;
static Block *blocks;
static LWLock *store_lock;

static Size store_bytes(void);
static uint32 count_blocks(void);
static uint32 count_buckets(void);
static void make_image(const Response *response, Image *image);
static void set_part(Image *image, Part part, const void *bytes, uint32 length);
static void set_text(Image *image, Part part, const char *text);
static void set_jsonb(Image *image, Part part, const Jsonb *jsonb);
static Size image_bytes(const Image *image);
static uint32 find(const Head *key, const char *id);
static void make_key(Head *key, const char *id);
static Oid find_table(void);
static bool is_full(uint32 nblocks);
static void add(const Image *image);
static void drop(uint32 block);
static uint32 take_block(void);
static void link_newest(uint32 block);
static void unlink_from_order(uint32 block);
static void touch(uint32 block);
static Head *head_of(uint32 block);
static Cursor place_of(uint32 block, Part part);
static void write_bytes(Cursor *at, const char *bytes, Size length);
static void read_bytes(Cursor *at, char *bytes, Size length);
static void skip_bytes(Cursor *at, Size length);
static char *copy_part(uint32 block, Part part);
static bool is_allowed(uint32 block);
static Response *make_response(const Head *head, char **parts);
static Header *copy_headers(uint64 *n);
static bool is_ours(uint32 block, Oid table);
static bool is_queued(uint32 block, Oid table, const char *tenant_id);
static bool is_older(uint32 block, uint32 than);

PG_FUNCTION_INFO_V1(msgstore_memory_is_there);
PG_FUNCTION_INFO_V1(msgstore_memory_responses);
PG_FUNCTION_INFO_V1(msgstore_forget_response);

Datum
msgstore_memory_is_there(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(responses_memory_is_there());
}

/* What is known of each response without its document. */
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
		Head *head = &headers[i].head;
		Datum values[PART_PREVIOUS + 6];
		bool nulls[PART_PREVIOUS + 6] = {false};
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
		values[column++] = Int64GetDatum((int64) head->version);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Removes a response for good, if it is still the one that was seen. */
Datum
msgstore_forget_response(PG_FUNCTION_ARGS)
{
	char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	uint64 version = (uint64) PG_GETARG_INT64(1);
	Head key;
	uint32 block;
	bool found;

	if (!responses_are_in_memory())
		PG_RETURN_BOOL(false);
	make_key(&key, id);
	LWLockAcquire(store_lock, LW_EXCLUSIVE);
	block = find(&key, id);
	found = block != NO_BLOCK && head_of(block)->version == version;
	if (found)
		drop(block);
	LWLockRelease(store_lock);
	PG_RETURN_BOOL(found);
}

bool
responses_memory_is_there(void)
{
	return store != NULL;
}

/* A duplicate is refused before anything has to go for it. */
bool
responses_memory_insert(const Response *response)
{
	Image image;
	bool is_new;

	make_image(response, &image);
	LWLockAcquire(store_lock, LW_EXCLUSIVE);
	is_new = find(&image.head, response->id) == NO_BLOCK;
	if (is_new)
		add(&image);
	LWLockRelease(store_lock);
	return is_new;
}

/* The document is read only after the lock is given back. */
Response *
responses_memory_find(const char *id, bool is_use)
{
	char *parts[PARTS];
	Head head;
	Head key;
	uint32 block;

	make_key(&key, id);
	LWLockAcquire(store_lock, LW_SHARED);
	block = find(&key, id);
	if (block != NO_BLOCK)
	{
		head = *head_of(block);
		for (int part = 0; part < PARTS; part++)
			parts[part] = copy_part(block, (Part) part);
		if (is_use && is_allowed(block))
			touch(block);
	}
	LWLockRelease(store_lock);
	return block != NO_BLOCK ? make_response(&head, parts) : NULL;
}

Jsonb *
responses_memory_document(const char *id, bool deleted_too)
{
	Jsonb *document = NULL;
	Head key;
	uint32 block;

	if (strlen(id) > RESPONSES_MAX_ID_BYTES)
		return NULL;
	make_key(&key, id);
	LWLockAcquire(store_lock, LW_SHARED);
	block = find(&key, id);
	if (block != NO_BLOCK &&
		(deleted_too || head_of(block)->deleted_at == DT_NOBEGIN) &&
		is_allowed(block))
	{
		document = (Jsonb *) copy_part(block, PART_DOCUMENT);
		touch(block);
	}
	LWLockRelease(store_lock);
	return document;
}

bool
responses_memory_update(const Response *response)
{
	Image image;
	uint32 block;
	bool same;

	make_image(response, &image);
	LWLockAcquire(store_lock, LW_EXCLUSIVE);
	block = find(&image.head, response->id);
	same = block != NO_BLOCK && head_of(block)->version == response->version;
	if (same)
	{
		drop(block);
		add(&image);
	}
	LWLockRelease(store_lock);
	return same;
}

/* The id of the oldest that waits, or NULL. */
char *
responses_memory_next_queued(const char *tenant_id)
{
	Oid table = find_table();
	uint32 oldest = NO_BLOCK;
	char *id = NULL;

	LWLockAcquire(store_lock, LW_SHARED);
	for (uint32 i = 0; i < store->nbuckets; i++)
	{
		uint32 block;

		for (block = buckets[i]; block != NO_BLOCK;
			 block = head_of(block)->next_in_bucket)
		{
			if (is_queued(block, table, tenant_id) && is_older(block, oldest))
				oldest = block;
		}
	}
	if (oldest != NO_BLOCK)
		id = copy_part(oldest, PART_ID);
	LWLockRelease(store_lock);
	return id;
}

void
responses_shmem_request(void)
{
	RequestAddinShmemSpace(store_bytes());
	RequestNamedLWLockTranche("msgstore_responses", 1);
}

/* Blocks are not written to before they are used: they cost no memory yet. */
void
responses_shmem_startup(void)
{
	bool found;

	store = ShmemInitStruct("msgstore responses", store_bytes(), &found);
	buckets = (uint32 *) ((char *) store + MAXALIGN(sizeof(Store)));
	blocks = (Block *) ((char *) buckets +
						MAXALIGN(count_buckets() * sizeof(uint32)));
	store_lock = &GetNamedLWLockTranche("msgstore_responses")->lock;
	if (found)
		return;
	memset(store, 0, sizeof(Store));
	SpinLockInit(&store->order);
	store->newest = store->oldest = store->first_free = NO_BLOCK;
	store->nblocks = store->nfree = count_blocks();
	store->nbuckets = count_buckets();
	memset(buckets, 0xff, store->nbuckets * sizeof(uint32));
}

static Size
store_bytes(void)
{
	return MAXALIGN(sizeof(Store)) +
		   MAXALIGN(count_buckets() * sizeof(uint32)) +
		   (Size) count_blocks() * sizeof(Block);
}

/* A bucket or two for each block, so that chains are short at any size. */
static uint32
count_blocks(void)
{
	return (uint32) ((Size) msgstore_memory_size * 1024 /
					 (sizeof(Block) + 2 * sizeof(uint32)));
}

static uint32
count_buckets(void)
{
	return pg_nextpower2_32(count_blocks());
}

/* Refuses what would not fit into the empty store. */
static void
make_image(const Response *response, Image *image)
{
	Head *head = &image->head;

	memset(image, 0, sizeof(Image));
	make_key(head, response->id);
	head->attempt_count = response->attempt_count;
	head->created_at = response->created_at;
	head->worker_heartbeat = response->worker_heartbeat;
	head->deleted_at = response->deleted_at;
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
	if (image_bytes(image) > (Size) store->nblocks * BLOCK_ROOM)
		ereport(ERROR,
				(errcode(ERRCODE_MS_TOO_LARGE),
				 errmsg("response of %zu bytes exceeds the in-memory store of "
						"%zu bytes",
						image_bytes(image),
						(Size) store->nblocks * BLOCK_ROOM),
				 errhint("Save a smaller response or raise "
						 "\"msgstore.memory_size\".")));
	head->nblocks =
		(uint32) ((image_bytes(image) + BLOCK_ROOM - 1) / BLOCK_ROOM);
}

static void
set_part(Image *image, Part part, const void *bytes, uint32 length)
{
	image->parts[part] = bytes;
	image->head.lengths[part] = bytes != NULL ? length : ABSENT;
}

static void
set_text(Image *image, Part part, const char *text)
{
	set_part(image, part, text, text != NULL ? (uint32) strlen(text) : 0);
}

static void
set_jsonb(Image *image, Part part, const Jsonb *jsonb)
{
	set_part(image, part, jsonb, jsonb != NULL ? VARSIZE(jsonb) : 0);
}

static Size
image_bytes(const Image *image)
{
	Size bytes = sizeof(Head);

	for (int part = 0; part < PARTS; part++)
		bytes += image->parts[part] != NULL ? image->head.lengths[part] : 0;
	return bytes;
}

/* The first block of this database's response of that id, or NO_BLOCK. */
static uint32
find(const Head *key, const char *id)
{
	Size length = strlen(id);
	uint32 block;

	for (block = buckets[key->hash & (store->nbuckets - 1)]; block != NO_BLOCK;
		 block = head_of(block)->next_in_bucket)
	{
		Head *head = head_of(block);

		if (head->hash == key->hash && head->database == key->database &&
			head->table == key->table && head->lengths[PART_ID] == length &&
			memcmp(head + 1, id, length) == 0)
			return block;
	}
	return NO_BLOCK;
}

static void
make_key(Head *key, const char *id)
{
	key->database = MyDatabaseId;
	key->table = find_table();
	key->hash =
		hash_combine(hash_bytes((const unsigned char *) id, (int) strlen(id)),
					 hash_combine(key->database, key->table));
}

static Oid
find_table(void)
{
	return get_relname_relid("responses", get_namespace_oid("msgstore", false));
}

static bool
is_full(uint32 nblocks)
{
	return store->nfree < nblocks ||
		   (msgstore_memory_max_responses > 0 &&
			store->count >= (uint32) msgstore_memory_max_responses);
}

/* To the front, after the least recently used have made room for it. */
static void
add(const Image *image)
{
	uint32 *bucket = &buckets[image->head.hash & (store->nbuckets - 1)];
	uint32 first = NO_BLOCK;
	Cursor at;

	while (is_full(image->head.nblocks))
		drop(store->oldest);
	for (uint32 i = 0; i < image->head.nblocks; i++)
	{
		uint32 block = take_block();

		blocks[block].next = first;
		first = block;
	}
	at.block = first;
	at.offset = 0;
	write_bytes(&at, (const char *) &image->head, sizeof(Head));
	for (int part = 0; part < PARTS; part++)
	{
		if (image->parts[part] != NULL)
			write_bytes(&at, image->parts[part], image->head.lengths[part]);
	}
	head_of(first)->version = ++store->last_version;
	head_of(first)->next_in_bucket = *bucket;
	*bucket = first;
	link_newest(first);
	store->count++;
}

static void
drop(uint32 first)
{
	Head *head = head_of(first);
	uint32 *link = &buckets[head->hash & (store->nbuckets - 1)];
	uint32 last = first;

	while (*link != first)
		link = &head_of(*link)->next_in_bucket;
	*link = head->next_in_bucket;
	unlink_from_order(first);
	store->count--;
	store->nfree += head->nblocks;
	while (blocks[last].next != NO_BLOCK)
		last = blocks[last].next;
	blocks[last].next = store->first_free;
	store->first_free = first;
}

static uint32
take_block(void)
{
	uint32 block = store->first_free;

	if (block != NO_BLOCK)
		store->first_free = blocks[block].next;
	else
		block = store->first_fresh++;
	store->nfree--;
	return block;
}

static void
link_newest(uint32 block)
{
	head_of(block)->newer = NO_BLOCK;
	head_of(block)->older = store->newest;
	if (store->newest != NO_BLOCK)
		head_of(store->newest)->newer = block;
	else
		store->oldest = block;
	store->newest = block;
}

static void
unlink_from_order(uint32 block)
{
	Head *head = head_of(block);

	if (head->newer != NO_BLOCK)
		head_of(head->newer)->older = head->older;
	else
		store->newest = head->older;
	if (head->older != NO_BLOCK)
		head_of(head->older)->newer = head->newer;
	else
		store->oldest = head->newer;
}

static void
touch(uint32 block)
{
	SpinLockAcquire(&store->order);
	if (store->newest != block)
	{
		unlink_from_order(block);
		link_newest(block);
	}
	SpinLockRelease(&store->order);
}

static Head *
head_of(uint32 block)
{
	return (Head *) blocks[block].data;
}

static Cursor
place_of(uint32 block, Part part)
{
	const Head *head = head_of(block);
	Cursor at = {block, 0};
	Size before = sizeof(Head);

	for (int i = 0; i < (int) part; i++)
		before += head->lengths[i] != ABSENT ? head->lengths[i] : 0;
	skip_bytes(&at, before);
	return at;
}

static void
write_bytes(Cursor *at, const char *bytes, Size length)
{
	while (length > 0)
	{
		Size here;

		skip_bytes(at, 0);
		here = Min(length, BLOCK_ROOM - at->offset);
		memcpy(blocks[at->block].data + at->offset, bytes, here);
		at->offset += here;
		bytes += here;
		length -= here;
	}
}

static void
read_bytes(Cursor *at, char *bytes, Size length)
{
	while (length > 0)
	{
		Size here;

		skip_bytes(at, 0);
		here = Min(length, BLOCK_ROOM - at->offset);
		memcpy(bytes, blocks[at->block].data + at->offset, here);
		at->offset += here;
		bytes += here;
		length -= here;
	}
}

/* The end of a block is the start of the next, if there is one. */
static void
skip_bytes(Cursor *at, Size length)
{
	Size offset = at->offset + length;

	while (offset >= BLOCK_ROOM && blocks[at->block].next != NO_BLOCK)
	{
		at->block = blocks[at->block].next;
		offset -= BLOCK_ROOM;
	}
	at->offset = (uint32) offset;
}

/* In memory of our own, with a zero behind it; NULL if there is none. */
static char *
copy_part(uint32 block, Part part)
{
	uint32 length = head_of(block)->lengths[part];
	Cursor at;
	char *text;

	if (length == ABSENT)
		return NULL;
	text = palloc(length + 1);
	at = place_of(block, part);
	read_bytes(&at, text, length);
	text[length] = '\0';
	return text;
}

static bool
is_allowed(uint32 block)
{
	return (msgstore_tenant_id[0] == '\0' && msgstore_owner[0] == '\0') ||
		   responses_allow(copy_part(block, PART_TENANT_ID),
						   copy_part(block, PART_OWNER),
						   false);
}

static bool
is_queued(uint32 block, Oid table, const char *tenant_id)
{
	const Head *head = head_of(block);

	return head->background && head->deleted_at == DT_NOBEGIN &&
		   is_ours(block, table) &&
		   strcmp(copy_part(block, PART_STATUS), "queued") == 0 &&
		   (tenant_id[0] == '\0' ||
			strcmp(copy_part(block, PART_TENANT_ID), tenant_id) == 0);
}

/* By the time it was made, then by id. */
static bool
is_older(uint32 block, uint32 than)
{
	const Head *a = head_of(block);
	const Head *b;

	if (than == NO_BLOCK)
		return true;
	b = head_of(than);
	if (a->created_at != b->created_at)
		return a->created_at < b->created_at;
	return strcmp(copy_part(block, PART_ID), copy_part(than, PART_ID)) < 0;
}

static bool
is_ours(uint32 block, Oid table)
{
	return head_of(block)->database == MyDatabaseId &&
		   head_of(block)->table == table;
}

static Response *
make_response(const Head *head, char **parts)
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
	response->version = head->version;
	return response;
}

/* By bucket: the list by use is moved about by readers. */
static Header *
copy_headers(uint64 *n)
{
	Oid table = find_table();
	Header *headers;

	*n = 0;
	LWLockAcquire(store_lock, LW_SHARED);
	headers = MemoryContextAllocHuge(CurrentMemoryContext,
									 Max(store->count, 1) * sizeof(Header));
	for (uint32 i = 0; i < store->nbuckets; i++)
	{
		uint32 block;

		for (block = buckets[i]; block != NO_BLOCK;
			 block = head_of(block)->next_in_bucket)
		{
			Header *header = &headers[*n];

			if (!is_ours(block, table))
				continue;
			header->head = *head_of(block);
			for (int part = 0; part <= PART_PREVIOUS; part++)
				header->texts[part] = copy_part(block, (Part) part);
			(*n)++;
		}
	}
	LWLockRelease(store_lock);
	return headers;
}

/*
 * responses/blocks.c: the shared memory of the in-memory store.
 *
 * The memory is divided into blocks of one size. A response is a chain of
 * blocks, so that finding room takes no search and nothing is ever fragmented.
 * The first block begins with the head of the response, which is in a hash
 * table by ID and in a list by last use. When there is no room, or there would
 * be too many responses, the least recently used are dropped.
 *
 * The lock is held shared to find and copy, exclusively to change. A read moves
 * its response to the front of the list under a spinlock, so that readers do
 * not wait for each other while they copy. Nothing under the exclusive lock can
 * fail, so that an error leaves the store whole.
 *
 * A response belongs to a database and to its table of responses, by their
 * OIDs: after DROP EXTENSION and CREATE EXTENSION the store is empty.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/lsyscache.h"

#include "responses/blocks.h"
#include "responses/response.h"
#include "server/settings.h"

#define BLOCK_BYTES 1024

/* Aligned, because the first block of a response holds its head. */
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

StaticAssertDecl(sizeof(BlockHead) + RESPONSES_MAX_ID_BYTES <= BLOCK_ROOM,
				 "an ID does not fit behind the head");

typedef struct Store
{
	slock_t order; /* protects the list when the lock is held shared */
	uint32 newest;
	uint32 oldest;
	uint32 count;
	uint32 nblocks;
	uint32 nfree;
	uint32 first_free;	/* of the blocks that were used before */
	uint32 first_fresh; /* this block and all after it were never used */
	uint32 nbuckets;	/* a power of two */
	uint64 last_version;
} Store;

/* A position in a chain of blocks. */
typedef struct Cursor
{
	uint32 block;
	uint32 offset;
} Cursor;

static Store *store = NULL;
static uint32 *buckets;
static Block *blocks;
static LWLock *store_lock;

static Size store_bytes(void);
static uint32 count_blocks(void);
static uint32 count_buckets(void);
static Oid find_table(void);
static uint32
find_in_bucket(uint32 block, const BlockHead *key, const char *id);
static bool has_tenant(uint32 block, const char *tenant_id);
static bool is_full(uint32 nblocks);
static uint32 take_block(void);
static void link_newest(uint32 block);
static void unlink_from_order(uint32 block);
static inline BlockHead *head_of(uint32 block);
static Cursor find_part(uint32 block, BlockPart part);
static void write_bytes(Cursor *at, const char *bytes, Size length);
static void read_bytes(Cursor *at, char *bytes, Size length);
static void skip_bytes(Cursor *at, Size length);

void
blocks_shmem_request(void)
{
	RequestAddinShmemSpace(store_bytes());
	RequestNamedLWLockTranche("msgstore_responses", 1);
}

/* Does not write to the blocks: unused ones take no memory. */
void
blocks_shmem_startup(void)
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

bool
blocks_are_there(void)
{
	return store != NULL;
}

Size
blocks_capacity(void)
{
	return (Size) store->nblocks * BLOCK_ROOM;
}

void
blocks_make_key(BlockHead *key, const char *id)
{
	key->database = MyDatabaseId;
	key->table = find_table();
	key->hash =
		hash_combine(hash_bytes((const unsigned char *) id, (int) strlen(id)),
					 hash_combine(key->database, key->table));
}

Size
blocks_measure(BlockImage *image)
{
	Size bytes = sizeof(BlockHead);

	for (int part = 0; part < PARTS; part++)
		bytes += image->parts[part] != NULL ? image->head.lengths[part] : 0;
	image->head.nblocks = (uint32) ((bytes + BLOCK_ROOM - 1) / BLOCK_ROOM);
	return bytes;
}

void
blocks_lock(LWLockMode mode)
{
	LWLockAcquire(store_lock, mode);
}

void
blocks_unlock(void)
{
	LWLockRelease(store_lock);
}

uint32
blocks_find(const BlockHead *key, const char *tenant_id, const char *id)
{
	uint32 block = blocks_first(key, id);

	while (block != NO_BLOCK && !has_tenant(block, tenant_id))
		block = blocks_following(block, id);
	return block;
}

uint32
blocks_first(const BlockHead *key, const char *id)
{
	return find_in_bucket(buckets[key->hash & (store->nbuckets - 1)], key, id);
}

uint32
blocks_following(uint32 block, const char *id)
{
	const BlockHead *head = head_of(block);

	return find_in_bucket(head->next_in_bucket, head, id);
}

void
blocks_add(const BlockImage *image)
{
	uint32 *bucket = &buckets[image->head.hash & (store->nbuckets - 1)];
	uint32 first = NO_BLOCK;
	Cursor at;

	while (is_full(image->head.nblocks))
		blocks_drop(store->oldest);
	for (uint32 i = 0; i < image->head.nblocks; i++)
	{
		uint32 block = take_block();

		blocks[block].next = first;
		first = block;
	}
	at.block = first;
	at.offset = 0;
	write_bytes(&at, (const char *) &image->head, sizeof(BlockHead));
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

void
blocks_drop(uint32 first)
{
	BlockHead *head = head_of(first);
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

void
blocks_touch(uint32 block)
{
	SpinLockAcquire(&store->order);
	if (store->newest != block)
	{
		unlink_from_order(block);
		link_newest(block);
	}
	SpinLockRelease(&store->order);
}

BlockHead *
blocks_head(uint32 block)
{
	return head_of(block);
}

char *
blocks_copy_part(uint32 block, BlockPart part)
{
	uint32 length = head_of(block)->lengths[part];
	Cursor at;
	char *text;

	if (length == ABSENT)
		return NULL;
	text = palloc(length + 1);
	at = find_part(block, part);
	read_bytes(&at, text, length);
	text[length] = '\0';
	return text;
}

uint32
blocks_count(void)
{
	return store->count;
}

Size
blocks_used(void)
{
	return (Size) (store->nblocks - store->nfree) * sizeof(Block);
}

void
blocks_start_scan(BlockScan *scan)
{
	scan->table = find_table();
	scan->bucket = 0;
	scan->next = NO_BLOCK;
}

/*
 * By bucket, because readers reorder the list by last use. Most buckets are
 * empty, so that the loop over them keeps its state in registers.
 */
uint32
blocks_next(BlockScan *scan)
{
	uint32 block = scan->next;
	uint32 bucket = scan->bucket;
	uint32 nbuckets = store->nbuckets;

	for (;;)
	{
		const BlockHead *head;

		while (block == NO_BLOCK && bucket < nbuckets)
			block = buckets[bucket++];
		scan->bucket = bucket;
		if (block == NO_BLOCK)
			return NO_BLOCK;
		head = head_of(block);
		scan->next = head->next_in_bucket;
		if (head->database == MyDatabaseId && head->table == scan->table)
			return block;
		block = scan->next;
	}
}

/* The first from that block on with the key and ID. */
static uint32
find_in_bucket(uint32 block, const BlockHead *key, const char *id)
{
	Size length = strlen(id);

	for (; block != NO_BLOCK; block = head_of(block)->next_in_bucket)
	{
		BlockHead *head = head_of(block);

		if (head->hash == key->hash && head->database == key->database &&
			head->table == key->table && head->lengths[PART_ID] == length &&
			memcmp(head + 1, id, length) == 0)
			return block;
	}
	return NO_BLOCK;
}

/* Compares in place: nothing may fail here. */
static bool
has_tenant(uint32 block, const char *tenant_id)
{
	Size length = strlen(tenant_id);
	Cursor at;

	if (head_of(block)->lengths[PART_TENANT_ID] != length)
		return false;
	if (length == 0)
		return true;
	at = find_part(block, PART_TENANT_ID);
	while (length > 0)
	{
		Size n = Min(length, BLOCK_ROOM - at.offset);

		if (memcmp(blocks[at.block].data + at.offset, tenant_id, n) != 0)
			return false;
		tenant_id += n;
		length -= n;
		at.block = blocks[at.block].next;
		at.offset = 0;
	}
	return true;
}

static Size
store_bytes(void)
{
	return MAXALIGN(sizeof(Store)) +
		   MAXALIGN(count_buckets() * sizeof(uint32)) +
		   (Size) count_blocks() * sizeof(Block);
}

/* One or two buckets for each block keep the chains short at any size. */
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
	BlockHead *head = head_of(block);

	if (head->newer != NO_BLOCK)
		head_of(head->newer)->older = head->older;
	else
		store->newest = head->older;
	if (head->older != NO_BLOCK)
		head_of(head->older)->newer = head->newer;
	else
		store->oldest = head->newer;
}

/* Not the exported function, which the compiler may not inline. */
static inline BlockHead *
head_of(uint32 block)
{
	return (BlockHead *) blocks[block].data;
}

static Cursor
find_part(uint32 block, BlockPart part)
{
	const BlockHead *head = head_of(block);
	Cursor at = {block, 0};
	Size before = sizeof(BlockHead);

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

/* The end of a block is the start of the next one, if there is one. */
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

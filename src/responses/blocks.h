/*
 * responses/blocks.h: the shared memory of the in-memory store.
 *
 * A response is known by the number of its first block, which is valid while
 * the lock is held.
 */
#ifndef RESPONSES_BLOCKS_H
#define RESPONSES_BLOCKS_H

#include "datatype/timestamp.h"
#include "storage/lwlock.h"

#define NO_BLOCK PG_UINT32_MAX

/* The parts of a response that vary in length, in the order they are stored. */
typedef enum BlockPart
{
	PART_ID, /* first, so that the first block holds all of it */
	PART_TENANT_ID,
	PART_OWNER,
	PART_STATUS,
	PART_MODEL,
	PART_PREVIOUS,
	PART_WORKER_ID,
	PART_DOCUMENT,
	PART_REQUEST
} BlockPart;

#define PARTS (PART_REQUEST + 1)
#define ABSENT PG_UINT32_MAX

/* What the first block of a response begins with. */
typedef struct BlockHead
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
	TimestampTz ended_at;
	bool background;
	uint32 lengths[PARTS]; /* ABSENT for none */
} BlockHead;

/* A response as it is to be stored. */
typedef struct BlockImage
{
	BlockHead head;
	const char *parts[PARTS]; /* NULL for none */
} BlockImage;

/* A walk over all responses of this database. */
typedef struct BlockScan
{
	Oid table;
	uint32 bucket;
	uint32 next;
} BlockScan;

extern void blocks_shmem_request(void);
extern void blocks_shmem_startup(void);

/* False: msgstore was not preloaded, and nothing below may be called. */
extern bool blocks_are_there(void);

/* The bytes that all blocks together hold. */
extern Size blocks_capacity(void);

/* Sets database, table and hash. Call it before locking: it reads catalogs. */
extern void blocks_make_key(BlockHead *key, const char *id);

/* The bytes that the image takes; sets the number of its blocks. */
extern Size blocks_measure(BlockImage *image);

/* Shared to find and copy, exclusive to add and drop. */
extern void blocks_lock(LWLockMode mode);
extern void blocks_unlock(void);

/* This database's response with that ID, or NO_BLOCK. */
extern uint32
blocks_find(const BlockHead *key, const char *tenant_id, const char *id);

/* The first response with this ID, of any tenant, and the one after it. */
extern uint32 blocks_first(const BlockHead *key, const char *id);
extern uint32 blocks_following(uint32 block, const char *id);

/* Adds a response as the newest; drops the least recently used to make room. */
extern void blocks_add(const BlockImage *image);
extern void blocks_drop(uint32 block);

/* Makes a response the most recently used. A shared lock is enough. */
extern void blocks_touch(uint32 block);
extern BlockHead *blocks_head(uint32 block);

/* A palloc'd copy with a zero byte behind it, or NULL if there is none. */
extern char *blocks_copy_part(uint32 block, BlockPart part);

/* How many responses there are, of all databases, and the bytes they take. */
extern uint32 blocks_count(void);
extern Size blocks_used(void);

/* Start before locking; next returns NO_BLOCK at the end. */
extern void blocks_start_scan(BlockScan *scan);
extern uint32 blocks_next(BlockScan *scan);

#endif /* RESPONSES_BLOCKS_H */

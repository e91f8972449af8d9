/*
 * memory.c: a bound on the memory that all requests together may use for bodies
 * and answers.
 *
 * An answer can have megabytes, and is kept until its client has read it. A
 * hundred clients that read nothing would make the process as large as all
 * their answers. So each request is counted with what it holds, and one that
 * would exceed the limit is refused. One client, known by its address, gets at
 * most half, so that it cannot shut others out.
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* Blocks of this size are mapped one by one, and unmapped when freed. */
#define MAPPED_BYTES (256 * 1024)

/* The C library makes up to eight for each processor; each keeps some memory.
 */
#define ARENAS 8

static size_t used_by(const Memory *memory, const char *client);
static void count(Memory *memory, MemoryShare *share, size_t bytes);

void
memory_init(Memory *memory, size_t limit)
{
	memory->limit = limit;
	memory->used = 0;
	memory->head.next = memory->head.previous = &memory->head;
	pthread_mutex_init(&memory->mutex, NULL);
}

void
memory_free(Memory *memory)
{
	pthread_mutex_destroy(&memory->mutex);
}

bool
memory_resize(Memory *memory,
			  MemoryShare *share,
			  const char *client,
			  size_t bytes)
{
	bool fits = true;

	if (bytes <= MEMORY_SMALL_BYTES)
		bytes = 0;
	if (bytes == share->bytes)
		return true;
	pthread_mutex_lock(&memory->mutex);
	if (bytes > share->bytes)
	{
		size_t more = bytes - share->bytes;

		fits = bytes <= memory->limit && more <= memory->limit - memory->used &&
			   used_by(memory, client) + more <= memory->limit / 2;
	}
	if (fits)
	{
		share->client = client;
		count(memory, share, bytes);
	}
	pthread_mutex_unlock(&memory->mutex);
	return fits;
}

size_t
memory_used(Memory *memory)
{
	size_t used;

	pthread_mutex_lock(&memory->mutex);
	used = memory->used;
	pthread_mutex_unlock(&memory->mutex);
	return used;
}

/*
 * Without a fixed threshold, the C library raises it to the size of the largest
 * block that was freed, up to 32 MB, and takes later ones from its arenas.
 */
void
memory_tune(void)
{
	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
	mallopt(M_TRIM_THRESHOLD, MAPPED_BYTES);
	mallopt(M_ARENA_MAX, ARENAS);
}

/* There are as many shares as large bodies and answers in flight: few. */
static size_t
used_by(const Memory *memory, const char *client)
{
	size_t used = 0;

	for (const MemoryShare *share = memory->head.next; share != &memory->head;
		 share = share->next)
	{
		if (strcmp(share->client, client) == 0)
			used += share->bytes;
	}
	return used;
}

static void
count(Memory *memory, MemoryShare *share, size_t bytes)
{
	if (share->bytes == 0)
	{
		share->next = memory->head.next;
		share->previous = &memory->head;
		share->next->previous = share;
		memory->head.next = share;
	}
	else if (bytes == 0)
	{
		share->previous->next = share->next;
		share->next->previous = share->previous;
	}
	memory->used = memory->used - share->bytes + bytes;
	share->bytes = bytes;
}

/*
 * memory.h: a bound on the memory that all requests together may use for bodies
 * and answers.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* What one request uses; all zeros: nothing. */
typedef struct MemoryShare
{
	size_t bytes;
	const char *client; /* its address; lives as long as the share */
	struct MemoryShare *previous;
	struct MemoryShare *next;
} MemoryShare;

typedef struct Memory
{
	size_t limit;

	pthread_mutex_t mutex; /* guards the members below */
	size_t used;
	MemoryShare head; /* of the list of all shares that are counted */
} Memory;

void memory_init(Memory *memory, size_t limit);
void memory_free(Memory *memory);

/*
 * Sets what the request uses. Returns false, and changes nothing, if all
 * requests would use more than the limit, or those of this client more than
 * half of it. It can always use less, and up to MEMORY_SMALL_BYTES, which are
 * not counted.
 */
#define MEMORY_SMALL_BYTES 65536
bool memory_resize(Memory *memory,
				   MemoryShare *share,
				   const char *client,
				   size_t bytes);

size_t memory_used(Memory *memory);

/* Keeps memory that was freed from staying with the process. Call it first. */
void memory_tune(void);

#endif /* MEMORY_H */

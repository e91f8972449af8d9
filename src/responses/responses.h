/*
 * responses/responses.h: what other rooms call of responses.
 */
#ifndef RESPONSES_RESPONSES_H
#define RESPONSES_RESPONSES_H

/*
 * For the worker, connected to SPI and as the owner of the extension: fails
 * stale background responses and removes old ones, in both stores. Returns the
 * milliseconds until the next call, or -1 if there are no background responses.
 */
extern long responses_housekeeping_turn(void);

/* For the shared memory hooks of module.c. */
extern void responses_shmem_request(void);
extern void responses_shmem_startup(void);

#endif /* RESPONSES_RESPONSES_H */

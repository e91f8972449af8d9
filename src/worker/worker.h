/*
 * worker/worker.h: what the library's entry point needs of the workers.
 */
#ifndef WORKER_H
#define WORKER_H

/* For _PG_init of a preloaded library: hooks, and the launcher. */
extern void worker_init(void);

#endif /* WORKER_H */

/*
 * worker/aside.h: installs the hooks that make workers step aside.
 */
#ifndef WORKER_ASIDE_H
#define WORKER_ASIDE_H

/* For worker_init(). */
extern void aside_init(void);

#endif /* WORKER_ASIDE_H */

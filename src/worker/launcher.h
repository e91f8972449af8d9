/*
 * worker/launcher.h: registers the launcher with the postmaster.
 */
#ifndef WORKER_LAUNCHER_H
#define WORKER_LAUNCHER_H

/* For worker_init(). */
extern void launcher_register(void);

#endif /* WORKER_LAUNCHER_H */

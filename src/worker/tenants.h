/*
 * worker/tenants.h: lists the tenants that have events in the queue.
 */
#ifndef WORKER_TENANTS_H
#define WORKER_TENANTS_H

/*
 * Lists up to most tenants greater than after and not greater than until, in
 * ascending order; NULL means no bound. Some may have no events left.
 */
extern int worker_list_tenants(const text *after,
							   const text *until,
							   int most,
							   text **tenants);

#endif /* WORKER_TENANTS_H */

/*
 * worker/tenants.h: the tenants that have events in the queue.
 */
#ifndef WORKER_TENANTS_H
#define WORKER_TENANTS_H

/*
 * Fills in, in their order, at most most tenants that come after one and not
 * after another; NULL is no bound. Some may have nothing left.
 */
extern int worker_list_tenants(const text *after,
							   const text *until,
							   int most,
							   text **tenants);

#endif /* WORKER_TENANTS_H */

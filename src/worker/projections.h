/*
 * worker/projections.h: functions of users that the worker calls with events.
 */
#ifndef WORKER_PROJECTIONS_H
#define WORKER_PROJECTIONS_H

/*
 * Applies some events. The caller is connected to SPI, in a transaction of its
 * own and with the rights of the extension's owner. Returns the milliseconds
 * until there is more to do: 0 for at once, -1 for not before an append.
 */
extern long projections_turn(void);

#endif /* WORKER_PROJECTIONS_H */

/*
 * maintenance/maintenance.h: what the worker does for the disk when it has nothing else.
 */
#ifndef MAINTENANCE_H
#define MAINTENANCE_H

/*
 * Purges at most one batch of each kind whose age is set. The caller is
 * connected to SPI, in a transaction of its own and with the rights of the
 * extension's owner. Returns in how many milliseconds there may be something
 * to purge: 0 at once, -1 never, because all of it is off; that costs nothing.
 */
extern long maintenance_purge_turn(void);

#endif /* MAINTENANCE_H */

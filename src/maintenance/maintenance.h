/*
 * maintenance/maintenance.h: the purge that an idle worker runs.
 */
#ifndef MAINTENANCE_H
#define MAINTENANCE_H

/*
 * Purges at most one batch of each kind whose age is set. The caller is
 * connected to SPI, in a transaction of its own and with the rights of the
 * extension's owner. Returns the milliseconds until the next batch may be due:
 * 0 for at once, -1 for never, when no age is set; that case costs nothing.
 */
extern long maintenance_purge_turn(void);

#endif /* MAINTENANCE_H */

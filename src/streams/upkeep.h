/*
 * streams/upkeep.h: what a worker does for streams from time to time.
 */
#ifndef STREAMS_UPKEEP_H
#define STREAMS_UPKEEP_H

/*
 * Remove old events of categories that have a retention, and seal new events.
 * The caller is connected to SPI, in a transaction of its own and with the
 * rights of the extension's owner. Return the milliseconds until the next turn:
 * 0 for at once, -1 for never.
 */
extern long streams_retention_turn(void);
extern long streams_seal_turn(void);

#endif /* STREAMS_UPKEEP_H */

/*
 * streams/horizon.h: what the events themselves tell about their order.
 *
 * Callers are connected to SPI, except for horizon_now().
 */
#ifndef STREAMS_HORIZON_H
#define STREAMS_HORIZON_H

/* The horizon to store with the position drawn last. */
extern int64 horizon_now(void);

/* The position that the transaction's snapshot settles. */
extern int64 horizon_settled_by_xmin(void);

/*
 * The position that the events prove to be settled, in a log that this server
 * did not write, if the given one is.
 */
extern int64 horizon_settled_in_copy(int64 settled);

#endif /* STREAMS_HORIZON_H */

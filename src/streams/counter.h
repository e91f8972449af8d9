/*
 * streams/counter.h: the sequence that positions are drawn from.
 */
#ifndef STREAMS_COUNTER_H
#define STREAMS_COUNTER_H

/*
 * Draws a position above all events of the tenant, which is given by a hash.
 * The transaction has published a bound for it.
 */
extern int64 counter_draw(uint64 tenant);

/* After a draw was rolled back: compares the counter with the log again. */
extern void counter_compare_again(void);

/* The position drawn last by any session; 0: none. */
extern int64 counter_last_value(void);

/* The position of the tenant's last event, if it is after this one; or 0. */
extern int64 counter_end_of_log(int64 after);

#endif /* STREAMS_COUNTER_H */

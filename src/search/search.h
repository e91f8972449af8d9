/*
 * search/search.h: fills the index of messages.
 */
#ifndef SEARCH_H
#define SEARCH_H

/*
 * Indexes a few messages, in a transaction of the worker. busy_us is how many
 * microseconds the worker has spent on events since the last call. Returns the
 * milliseconds until it wants to go on, -1 if nothing is left.
 */
extern long search_turn(int64 busy_us);

#endif /* SEARCH_H */

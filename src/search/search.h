/*
 * search/search.h: fills the index of messages.
 */
#ifndef SEARCH_H
#define SEARCH_H

/*
 * Indexes a few messages, in a transaction of the worker. Returns the
 * milliseconds until it wants to go on, -1 if nothing is left. If events are
 * waiting, it asks for a small share of the worker's time.
 */
extern long search_turn(bool events_wait);

#endif /* SEARCH_H */

/*
 * streams/watch.h: tells a worker that there are events for projections.
 */
#ifndef STREAMS_WATCH_H
#define STREAMS_WATCH_H

/*
 * For the worker that applies projections: the buckets, as bits, whose appends
 * are to wake it from now on. Returns true if they were others before.
 */
extern bool streams_watch(uint64 buckets);

/*
 * Whether there were such appends since streams_take_watched(), which is called
 * before it looks for their events.
 */
extern bool streams_has_watched(void);
extern void streams_take_watched(void);

/* For commits: tells the workers that watch these buckets. */
extern void streams_tell_watchers(uint64 buckets);

/* Size and set-up of the shared memory. */
extern void streams_watch_shmem_request(void);
extern void streams_watch_shmem_startup(void);

#endif /* STREAMS_WATCH_H */

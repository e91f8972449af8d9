/*
 * wake/changes.h: tells the worker about changes of conversations to merge.
 */
#ifndef WAKE_CHANGES_H
#define WAKE_CHANGES_H

#include "datatype/timestamp.h"

/*
 * At commit, counts so many changes for the worker that merges them, and wakes
 * it for the first ones, and when there are too many.
 */
extern void wake_for_changes(int changes);

/* Whether a worker of this database merges changes. */
extern bool wake_merges_changes(void);

/*
 * For that worker: when the changes counted are to be merged, DT_NOBEGIN for
 * at once, DT_NOEND for never; and, before it merges, takes those counted until
 * now.
 */
extern TimestampTz wake_changes_due(void);
extern void wake_take_changes(void);

/* For _PG_init. */
extern void wake_changes_init(void);

#endif /* WAKE_CHANGES_H */

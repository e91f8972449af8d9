/*
 * conversations/merge.h: merges the changes of conversations.
 */
#ifndef CONVERSATIONS_MERGE_H
#define CONVERSATIONS_MERGE_H

/* Notes changes of so many conversations, in so many rows, for the merge. */
extern void merge_note_changes(int changes, int rows);

/*
 * Merges some rows, in a transaction of the worker. Returns the milliseconds
 * until more may be merged, or -1 if a commit will tell.
 */
extern long merge_turn(void);

/*
 * Merges, in the transaction of a session, what sessions have added without a
 * worker that merges it. Call it last: the session holds the merge until its
 * transaction ends. The caller is connected to SPI.
 */
extern void merge_without_worker(void);

#endif /* CONVERSATIONS_MERGE_H */

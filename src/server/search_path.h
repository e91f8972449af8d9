/*
 * server/search_path.h: the search_path of code that runs with the owner's
 * rights.
 *
 * The functions that store events are SECURITY DEFINER without a SET clause:
 * to set and reset search_path costs as much as half an index entry, and most
 * calls look up no name. What does look up names pins search_path for itself.
 * Every other function has the clause, so that pinning finds nothing to do.
 */
#ifndef SERVER_SEARCH_PATH_H
#define SERVER_SEARCH_PATH_H

/* The value in the SET clauses of sql/. */
#define SEARCH_PATH_PINNED "pg_catalog, pg_temp"

/*
 * Pins search_path until search_path_release(), which gets what this returns.
 * An error releases it with the subtransaction.
 */
extern int search_path_pin(void);
extern void search_path_release(int nest_level);

#endif /* SERVER_SEARCH_PATH_H */

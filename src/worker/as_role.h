/*
 * worker/as_role.h: runs code of users with the rights of their roles.
 */
#ifndef WORKER_AS_ROLE_H
#define WORKER_AS_ROLE_H

/*
 * Switches to the owner of the extension and to a search_path that the caller
 * cannot influence. Returns the GUC nesting level to restore.
 */
extern int role_become_owner(Oid *saved_user, int *saved_context);

/* Raises 42501 if the role may not execute the function. */
extern void role_check_right(Oid function, Oid role, const char *name);

/* Sets a parameter until the current GUC nesting level ends. */
extern void role_set_local(const char *name, const char *value);

/*
 * SET CONSTRAINTS ALL IMMEDIATE: nothing that a user's code leaves behind runs
 * later, with other rights.
 */
extern void role_check_constraints(void);

#endif /* WORKER_AS_ROLE_H */

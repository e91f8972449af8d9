/*
 * tenancy/placement.h: whether a tenant's rows can be written in this database.
 */
#ifndef PLACEMENT_H
#define PLACEMENT_H

/*
 * Raises MS421 if the tenant belongs to another slot, MS503 while it is fenced.
 * Every call that writes rows of a tenant makes this check first.
 */
extern void placement_check(const char *tenant);

/* The same for the session's tenant, also if it is empty. */
extern void placement_check_own(void);

/*
 * The same for the session's tenant, unless it is empty: then the call works on
 * rows of all tenants, and checks the tenant of each that it finds.
 */
extern void placement_check_scope(void);

/*
 * The same for a call that works on rows of all tenants at once: in a session
 * without a tenant it raises MS503 while any tenant is fenced.
 */
extern void placement_check_all(void);

/*
 * Whether workers, claims and periodic tasks must leave the tenant's rows
 * alone: it belongs to another slot or is fenced.
 */
extern bool placement_is_elsewhere(const char *tenant);

extern bool placement_is_fenced(const char *tenant);

/* False if no tenant can be elsewhere. */
extern bool placement_any_elsewhere(void);

#endif /* PLACEMENT_H */

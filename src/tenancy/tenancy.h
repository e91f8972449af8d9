/*
 * tenancy/tenancy.h: what other rooms call of tenancy.
 */
#ifndef TENANCY_H
#define TENANCY_H

/*
 * Raises MS403 in a session of a tenant; what, in the plural, is what it cannot
 * change.
 */
extern void tenancy_refuse_tenant(const char *what);

#endif /* TENANCY_H */

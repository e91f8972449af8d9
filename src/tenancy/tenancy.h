/*
 * tenancy/tenancy.h: what other rooms ask of tenancy.
 */
#ifndef TENANCY_H
#define TENANCY_H

/* Raises MS403 when the session works for one tenant; what is not its own. */
extern void tenancy_refuse_tenant(const char *what);

#endif /* TENANCY_H */

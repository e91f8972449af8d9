/*
 * tenancy.h: what other rooms ask of tenancy.
 */
#ifndef MSGSTORE_TENANCY_H
#define MSGSTORE_TENANCY_H

/* Raises MS403 when the session works for one tenant; what is not its own. */
extern void tenancy_refuse_tenant(const char *what);

#endif /* MSGSTORE_TENANCY_H */

/*
 * responses/permission.h: which responses a session may read and change.
 */
#ifndef RESPONSES_PERMISSION_H
#define RESPONSES_PERMISSION_H

#include "responses/response.h"
#include "server/versions.h"

/* May an owner read, or write, a response that has the stored owner? */
extern bool responses_owner_allows(const char *owner,
								   bool is_admin,
								   const char *stored,
								   bool writing);

/* May this session read, or write, a response of that tenant and owner? */
extern bool
responses_allow(const char *tenant_id, const char *owner, bool writing);
extern bool responses_are_deleted(const Response *response);

/* Raises MS404. */
pg_noreturn extern void responses_refuse_unknown(const char *id);

/* Raises MS409 unless that worker holds the claim. */
extern void responses_check_claim(const Response *response,
								  const char *worker_id);

#endif /* RESPONSES_PERMISSION_H */

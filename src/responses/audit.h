/*
 * responses/audit.h: who was refused a response of another owner, and who
 * deleted or cancelled one.
 *
 * Nothing is recorded unless msgstore.response_audit is on.
 */
#ifndef RESPONSES_AUDIT_H
#define RESPONSES_AUDIT_H

#include "responses/response.h"

/*
 * May the session do this with the response, which is not deleted? Notes a
 * refusal because of the owner; the note outlives the rollback.
 */
extern bool
audit_admit(const Response *response, bool writing, const char *operation);

/*
 * Records, in this transaction, that the session deleted or cancelled a
 * response, and whether it did so as an administrator. Connects to SPI.
 */
extern void audit_removal(const Response *response, const char *event);

/* For the shared memory hooks of the room. */
extern void audit_shmem_request(void);
extern void audit_shmem_startup(void);

#endif /* RESPONSES_AUDIT_H */

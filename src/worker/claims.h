/*
 * worker/claims.h: claims of processors outside the server.
 */
#ifndef WORKER_CLAIMS_H
#define WORKER_CLAIMS_H

#include "datatype/timestamp.h"

/*
 * Takes back, within these lanes, the claims that expired by the given time;
 * the caller is connected to SPI. Returns when there may be something to take
 * back again, not later; DT_NOEND when there is no other claim.
 */
extern TimestampTz worker_reap_claims(TimestampTz due, uint64 lanes);

#endif /* WORKER_CLAIMS_H */

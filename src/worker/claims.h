/*
 * worker/claims.h: claims of external processors.
 */
#ifndef WORKER_CLAIMS_H
#define WORKER_CLAIMS_H

#include "datatype/timestamp.h"

/*
 * Releases the claims in these lanes that expired by the given time; the caller
 * is connected to SPI. Returns the earliest time at which another claim can
 * expire, or DT_NOEND if there is none.
 */
extern TimestampTz worker_reap_claims(TimestampTz due, uint64 lanes);

#endif /* WORKER_CLAIMS_H */

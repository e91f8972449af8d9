/*
 * worker/postmortem.h: settles the events of workers that died applying them.
 */
#ifndef WORKER_POSTMORTEM_H
#define WORKER_POSTMORTEM_H

#include "wake/shared.h"

/*
 * Returns the lanes of events that dead workers of the database have left and
 * that are not settled. No batch may be taken from them.
 */
extern uint64 postmortem_lanes(WorkerSlot *own);

/*
 * Settles one of these events in the caller's transaction, connected to SPI.
 * Returns false if there is none, or another worker settles them, or their
 * lanes are locked.
 */
extern bool postmortem_step(WorkerSlot *own, TimestampTz due);

#endif /* WORKER_POSTMORTEM_H */

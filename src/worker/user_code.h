/*
 * worker/user_code.h: tells whether applying events runs code of users.
 */
#ifndef WORKER_USER_CODE_H
#define WORKER_USER_CODE_H

#include "worker/batch.h"

/* Whether applying these events calls handlers, triggers or rules of users. */
extern bool worker_runs_user_code(const WorkerBatch *batch, int first, int n);

#endif /* WORKER_USER_CODE_H */

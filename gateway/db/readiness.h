/*
 * readiness.h: whether a webhook posted now would be stored and processed.
 */
#ifndef READINESS_H
#define READINESS_H

#include <stdbool.h>

#include "config/config.h"
#include "db/pool.h"
#include "log.h"
#include "text.h"

typedef struct Readiness Readiness;

typedef enum ReadinessState
{
	READINESS_READY,
	READINESS_DEGRADED, /* webhooks are stored; something is missing */
	READINESS_NOT_READY
} ReadinessState;

/* What the last check found. The caller frees both texts. */
typedef struct ReadinessAnswer
{
	ReadinessState state;
	Text why;	   /* the first reason against it, empty if ready */
	Text findings; /* a JSON array without the brackets, empty if none */
} ReadinessAnswer;

/*
 * Starts a thread that checks once, and logs what it finds with the statement
 * that mends it. Later it checks only when asked. Returns NULL if out of memory
 * or threads.
 */
Readiness *readiness_create(const Config *config, Log *log, Pool *pool);

/*
 * Returns what a check found that is at most a fifth of a second old. If the
 * check takes longer than a second, the last one counts for five seconds.
 */
void readiness_ask(Readiness *readiness, ReadinessAnswer *answer);

/*
 * Checks once, without a thread, and logs each finding. For --check: the
 * database's refusal to connect is logged as well.
 */
ReadinessState readiness_check(const Config *config, Log *log);

/* Ends the thread. */
void readiness_stop(Readiness *readiness);

#endif /* READINESS_H */

/*
 * courier.h: the loop that claims, sends and reports.
 */
#ifndef COURIER_H
#define COURIER_H

#include <stdatomic.h>
#include <stdbool.h>

#include <curl/curl.h>

#include "sender/store.h"
#include "sender/transfer.h"

typedef struct Courier
{
	const Config *config; /* replaced by SIGHUP */
	Log *log;
	Outbox outbox;
	CURLM *multi;
	const atomic_bool *stopping;
	int wake; /* a file that becomes readable at a signal */

	Transfer *running;
	Transfer *ended; /* not reported yet */
	int count;		 /* of both */
	bool hungry[KIND_COUNT];
} Courier;

/* On failure the caller reports that memory or files ran out. */
bool courier_init(Courier *courier,
				  const Config *config,
				  Log *log,
				  const atomic_bool *stopping,
				  int wake);

/* One turn: works, and waits until there is more to do. */
void courier_turn(Courier *courier);

/* Waits for the requests in flight, and reports what became of them. */
void courier_stop(Courier *courier);
void courier_free(Courier *courier);

#endif /* COURIER_H */

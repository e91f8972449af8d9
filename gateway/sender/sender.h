/*
 * sender.h: the mock sender: outbound messages on their way to a provider.
 */
#ifndef SENDER_H
#define SENDER_H

#include "config/config.h"
#include "log.h"
#include "metrics.h"
#include "sender/provider.h"

typedef struct Sender Sender;

/* Begins to send; the database need not be there yet. */
Sender *sender_create(const Config *config,
					  Log *log,
					  Metrics *metrics,
					  Provider *provider);

/* Takes no further messages; returns at once. */
void sender_refuse(Sender *sender);

/* Waits until what was taken is answered and written down. */
void sender_stop(Sender *sender);

#endif /* SENDER_H */

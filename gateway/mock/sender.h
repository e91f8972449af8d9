/*
 * sender.h: the mock sender: sends outbound messages through the mock provider.
 */
#ifndef SENDER_H
#define SENDER_H

#include "config/config.h"
#include "log.h"
#include "metrics.h"
#include "mock/provider.h"

typedef struct Sender Sender;

/* Starts the thread; does not wait for the database. */
Sender *sender_create(const Config *config,
					  Log *log,
					  Metrics *metrics,
					  Provider *provider);

/* Uses the new settings of the provider and its breakers from now on. */
void sender_reload(Sender *sender, const Config *config);

/* Claims no more messages; returns at once. */
void sender_refuse(Sender *sender);

/* Waits until the claimed messages are sent and recorded. */
void sender_stop(Sender *sender);

#endif /* SENDER_H */

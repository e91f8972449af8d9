/*
 * gateway.h: the one struct that holds everything, handed down to handlers.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include "batch.h"
#include "config.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "pool.h"
#include "provider.h"
#include "sender.h"
#include "server.h"

typedef struct Gateway
{
	Config config;
	Log log;
	Metrics metrics;
	Provider provider;
	Limits *limits;
	Pool *pool;
	Batch *batch;
	Sender *sender; /* NULL: nobody asked for it */
	Server *server;
} Gateway;

#endif /* GATEWAY_H */

/*
 * gateway.h: the one struct that holds everything, handed down to handlers.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include "batch.h"
#include "config.h"
#include "keys.h"
#include "limits.h"
#include "log.h"
#include "metrics.h"
#include "own_limit.h"
#include "pool.h"
#include "provider.h"
#include "sender.h"
#include "server.h"
#include "tls.h"

typedef struct Gateway
{
	Config config;
	Log log;
	Metrics metrics;
	Provider provider;
	Limits *limits;
	Pool *pool;
	Keys *keys;			 /* NULL: nobody is asked for a key */
	OwnLimit *own_limit; /* NULL: each key has its own */
	Batch *batch;
	Sender *sender; /* NULL: nobody asked for it */
	Tls *tls;		/* NULL: plain HTTP */
	Server *server;
} Gateway;

#endif /* GATEWAY_H */

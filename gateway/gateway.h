/*
 * gateway.h: the one struct that holds everything, handed down to handlers.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

#include "config/config.h"
#include "db/batch.h"
#include "db/pool.h"
#include "guard/keys.h"
#include "guard/limits.h"
#include "guard/own_limit.h"
#include "http/server.h"
#include "http/tls.h"
#include "log.h"
#include "metrics.h"
#include "sender/provider.h"
#include "sender/sender.h"

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

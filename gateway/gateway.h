/*
 * gateway.h: the parts of the running gateway, handed down to every handler.
 *
 * The parts are only declared here: a file that uses one includes its header,
 * and nobody else needs to know it. main.c creates and frees them.
 */
#ifndef GATEWAY_H
#define GATEWAY_H

typedef struct Gateway
{
	/* Replaced by SIGHUP: what must not change within a request reads it once.
	 */
	const struct Config *_Atomic config;
	struct Log *log;
	struct Metrics *metrics;
	struct Memory *memory;
	struct Pool *pool;
	struct Batch *batch;
	struct Cluster
		*cluster; /* knows no slot, unless the database is a router */
	struct Limits *limits;
	struct Keys *keys; /* NULL: requests need no key */
	struct Sources *sources;
	struct OwnLimit *own_limit; /* NULL: each key has its own limit */
	struct Readiness *readiness;
	struct Provider *provider;
	struct Sender *sender; /* NULL: no mock sender */
	struct Tls *tls;	   /* NULL: plain HTTP */
	struct Feeds *feeds;   /* NULL: no listeners allowed */
	struct Server *server;
} Gateway;

#endif /* GATEWAY_H */

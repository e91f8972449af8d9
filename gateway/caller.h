/*
 * caller.h: who sent a request, according to its key, and its place in a rate
 * limit.
 */
#ifndef CALLER_H
#define CALLER_H

#include <stdint.h>

#define TENANT_MAX 255
#define OWNER_MAX 255
#define KEY_PREFIX_MAX 31

/* Longer than any key; longer ones are refused before they are hashed. */
#define KEY_MAX 128

/* What a key allows; a set of scopes is their sum. */
typedef enum Scope
{
	SCOPE_NONE = 0, /* no key required */
	SCOPE_INGEST = 1,
	SCOPE_SEND = 2,
	SCOPE_READ = 4,
	SCOPE_RESPONSES = 8,
	SCOPE_OPERATE = 16,
	SCOPE_APPEND = 32,
	SCOPE_CONSUME = 64
} Scope;

/* All zeros: no key; the tenant, if any, is the database role's. */
typedef struct Caller
{
	char tenant[TENANT_MAX + 1];	 /* "": as the role has it */
	char owner[OWNER_MAX + 1];		 /* of responses; "": as the role has it */
	char prefix[KEY_PREFIX_MAX + 1]; /* the public part of the key */
	unsigned scopes;
	long rate;	/* requests a second; 0: no limit */
	long burst; /* requests at once */
} Caller;

/* One request counted against one window; all zeros: nothing was counted. */
typedef struct LimitTicket
{
	uint64_t key[2];
	int64_t window_us; /* start of the window */
} LimitTicket;

#endif /* CALLER_H */

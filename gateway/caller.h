/*
 * caller.h: who sends a request: what a key stands for.
 */
#ifndef CALLER_H
#define CALLER_H

#define TENANT_MAX 255
#define KEY_PREFIX_MAX 31

/* What a key may be good for; a set of them is their sum. */
typedef enum Scope
{
	SCOPE_NONE = 0, /* no key is asked for */
	SCOPE_INGEST = 1,
	SCOPE_SEND = 2,
	SCOPE_READ = 4,
	SCOPE_RESPONSES = 8,
	SCOPE_OPERATE = 16
} Scope;

/* Zeros are a caller without a key: of the role's own tenant, or of none. */
typedef struct Caller
{
	char tenant[TENANT_MAX + 1];	 /* "": as the role has it */
	char prefix[KEY_PREFIX_MAX + 1]; /* the part of the key that is no secret */
	unsigned scopes;
	long rate;	/* requests a second; 0: no limit */
	long burst; /* requests at once */
} Caller;

#endif /* CALLER_H */

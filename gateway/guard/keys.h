/*
 * keys.h: which caller a key stands for, kept for seconds.
 */
#ifndef KEYS_H
#define KEYS_H

#include <stdbool.h>

#include "caller.h"
#include "config/config.h"
#include "db/pool.h"
#include "log.h"

typedef struct Keys Keys;

typedef enum KeyAnswer
{
	KEY_GOOD,
	KEY_UNKNOWN,	/* or revoked, or expired */
	KEY_UNAVAILABLE /* the database does not say, and did not just now */
} KeyAnswer;

Keys *keys_create(const Config *config, Log *log, Pool *pool);
void keys_free(Keys *keys);

/*
 * Asks the database unless it was asked a moment ago. A key that is revoked
 * is unknown here five seconds later at the latest. For KEY_UNAVAILABLE
 * *why is a constant for the client.
 */
KeyAnswer
keys_identify(Keys *keys, const char *key, Caller *caller, const char **why);

/* Are there keys at all? Of a database that is away nothing is known. */
typedef enum KeysThere
{
	KEYS_THERE,
	KEYS_NONE,
	KEYS_NOT_KNOWN
} KeysThere;

KeysThere keys_look(Keys *keys);

#endif /* KEYS_H */

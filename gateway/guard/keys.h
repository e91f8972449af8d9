/*
 * keys.h: a cache of keys and what they stand for.
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
	KEY_UNAVAILABLE /* the database does not answer, and no recent answer */
} KeyAnswer;

Keys *keys_create(const Config *config, Log *log, Pool *pool);
void keys_free(Keys *keys);

/*
 * Looks the key up in the cache or asks the database. A revoked key is unknown
 * here within five seconds. For KEY_UNAVAILABLE *why is a constant for the
 * client.
 */
KeyAnswer
keys_identify(Keys *keys, const char *key, Caller *caller, const char **why);

/* Whether the database has any key. */
typedef enum KeysThere
{
	KEYS_THERE,
	KEYS_NONE,
	KEYS_NOT_KNOWN /* the database does not answer, or the role may not ask */
} KeysThere;

KeysThere keys_look(Keys *keys);

#endif /* KEYS_H */

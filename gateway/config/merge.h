/*
 * merge.h: new settings for a gateway that runs.
 */
#ifndef MERGE_H
#define MERGE_H

#include <stdbool.h>

#include "config/config.h"
#include "text.h"

/* What differs, for the log; both are empty if nothing does. */
typedef struct ConfigChanges
{
	Text applied; /* members of a JSON object, as in config_describe() */
	Text restart; /* JSON strings: settings that need a restart */
} ConfigChanges;

/*
 * Leaves in "fresh", which was just loaded, only those new values that the
 * gateway can take while it runs; the others become those of "running". The
 * caller frees both texts. On failure error says why.
 */
bool config_merge(Config *fresh,
				  const Config *running,
				  ConfigChanges *changes,
				  Text *error);

#endif /* MERGE_H */

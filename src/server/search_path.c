/*
 * server/search_path.c: pins search_path around what looks up names.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/guc.h"

#include "server/search_path.h"

#define NOT_CHANGED 0

int
search_path_pin(void)
{
	int nest_level;

	if (strcmp(namespace_search_path, SEARCH_PATH_PINNED) == 0)
		return NOT_CHANGED;
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path",
							 SEARCH_PATH_PINNED,
							 PGC_USERSET,
							 PGC_S_SESSION,
							 GUC_ACTION_SAVE,
							 true,
							 0,
							 false);
	return nest_level;
}

void
search_path_release(int nest_level)
{
	if (nest_level != NOT_CHANGED)
		AtEOXact_GUC(true, nest_level);
}

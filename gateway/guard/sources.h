/*
 * sources.h: the limits of sources, a cache of what the database says.
 */
#ifndef SOURCES_H
#define SOURCES_H

#include "caller.h"
#include "db/pool.h"

typedef struct Sources Sources;

typedef struct SourceLimits
{
	char tenant[TENANT_MAX + 1];
	long max_body_bytes;  /* 0: as configured */
	int too_large_status; /* for a larger body */
	long rate;			  /* requests of the tenant a second; 0: no limit */
	long burst;
} SourceLimits;

Sources *sources_create(Pool *pool);
void sources_free(Sources *sources);

/*
 * Finds the limits of the source with that path. Returns the SQLSTATE of the
 * look-up, "00000" for success; *why is then unset, otherwise it is for the
 * client.
 */
const char *sources_find(Sources *sources,
						 const char *path,
						 SourceLimits *limits,
						 const char **why);

#endif /* SOURCES_H */

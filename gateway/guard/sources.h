/*
 * sources.h: the limits of sources, a cache of what the database says, and
 * what became of their webhooks.
 */
#ifndef SOURCES_H
#define SOURCES_H

#include "caller.h"
#include "db/pool.h"
#include "text.h"

typedef struct Sources Sources;

#define SOURCE_NAME_MAX 63

typedef struct SourceLimits
{
	char tenant[TENANT_MAX + 1];
	char name[SOURCE_NAME_MAX + 1];
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

/* Counts a webhook: accepted, refused or unverified. */
void sources_count(Sources *sources, const char *path, const char *outcome);

/* Writes the counts as samples of a Prometheus metric of that name. */
void sources_write_counts(Sources *sources, const char *metric, Text *out);

#endif /* SOURCES_H */

/*
 * sources/check.h: a signature to verify, and what its request says.
 */
#ifndef SOURCES_CHECK_H
#define SOURCES_CHECK_H

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "sources/form.h"

typedef struct Check
{
	Jsonb *options; /* of the scheme */
	Jsonb *values;	/* what the scheme finds in the request */
	char **secrets;
	int nsecrets;
	const char *url;
	const char *content_type;
	FormBytes body;
	double now;		  /* Unix time */
	double tolerance; /* seconds; 0: any time */
} Check;

/* A string or number; NULL if there is none, or if it is empty. */
extern char *check_text(Jsonb *object, const char *name);

/* The signatures that the request carries; sets their timestamp, or NULL. */
extern List *check_list_signatures(const Check *check, char **timestamp);

/*
 * Writes the option "signed", with {body}, {url}, and the request's values in
 * place of their names. Returns false if a value is missing.
 */
extern bool check_fill_template(const Check *check,
								const char *timestamp,
								StringInfo signed_data);

/* A parameter of a URL's query, or NULL. */
extern char *check_query_field(const char *url, const char *name);

#endif /* SOURCES_CHECK_H */

/*
 * sources/form.h: the fields of HTML forms, as bytes.
 */
#ifndef SOURCES_FORM_H
#define SOURCES_FORM_H

#include "nodes/pg_list.h"

/* A name or value; need not be valid text. */
typedef struct FormBytes
{
	const char *data;
	size_t length;
} FormBytes;

/* One field of a form, or one file of it. */
typedef struct FormField
{
	FormBytes name;
	FormBytes value;
	bool is_file;
	FormBytes filename; /* of a file; empty if it has none */
	FormBytes type;		/* media type of a part; empty if it has none */
} FormField;

/* The fields of application/x-www-form-urlencoded, or of a query. */
extern List *form_parse(const char *data, size_t length);

/*
 * The parts of multipart/form-data. They point into the data. Returns false if
 * the body does not have the format.
 */
extern bool multipart_parse(const char *content_type,
							const char *data,
							size_t length,
							List **fields);

/* By name, then by value, byte by byte; for list_sort(). */
extern int form_compare(const ListCell *a, const ListCell *b);

#endif /* SOURCES_FORM_H */

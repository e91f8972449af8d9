/*
 * assets.h: the files of the console, which are part of the program.
 */
#ifndef ASSETS_H
#define ASSETS_H

#include <stddef.h>

typedef struct Asset
{
	const char *name;
	const char *tag; /* for ETag */
	const unsigned char *plain;
	size_t plain_length;
	const unsigned char *gzip; /* the same, compressed */
	size_t gzip_length;
} Asset;

/* NULL if there is no such file. */
const Asset *asset_find(const char *name);

/* The media type of the file. */
const char *asset_type(const Asset *asset);

#endif /* ASSETS_H */

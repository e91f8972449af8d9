/*
 * assets.c: the files of the console, which are part of the program. "embed"
 * writes assets.inc when the gateway is built.
 */
#include <string.h>

#include "console/assets.h"

#include "console/assets.inc"

const Asset *
asset_find(const char *name)
{
	for (size_t i = 0; i < sizeof(assets) / sizeof(assets[0]); i++)
	{
		if (strcmp(assets[i].name, name) == 0)
			return &assets[i];
	}
	return NULL;
}

const char *
asset_type(const Asset *asset)
{
	const char *suffix = strrchr(asset->name, '.');

	if (strcmp(suffix, ".js") == 0)
		return "text/javascript; charset=utf-8";
	if (strcmp(suffix, ".css") == 0)
		return "text/css; charset=utf-8";
	if (strcmp(suffix, ".svg") == 0)
		return "image/svg+xml";
	return "text/html; charset=utf-8";
}

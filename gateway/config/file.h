/*
 * file.h: reads a file of settings, as systemd reads an EnvironmentFile.
 */
#ifndef FILE_H
#define FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "text.h"

typedef struct FileSetting
{
	char *name;
	char *value;
} FileSetting;

/* A zeroed one is empty. */
typedef struct FileSettings
{
	FileSetting *list;
	size_t count;
	char *content; /* holds names and values */
} FileSettings;

/*
 * Reads NAME=VALUE lines. Returns false if the file cannot be read; also, if
 * strict, for a line that is neither that nor a comment nor empty. The error
 * says why, without the content, which may be secret.
 */
bool
file_read(FileSettings *settings, const char *path, bool strict, Text *error);

/* The value of the last line with that name, or NULL. */
const char *file_find(const FileSettings *settings, const char *name);
void file_free(FileSettings *settings);

#endif /* FILE_H */

/*
 * secret.c: secrets of accounts that are not in the database.
 *
 * They are read for each request, so that a new secret holds at once. Names
 * are words of lower-case letters, digits, "-" and "_": no path.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sender/secret.h"

#define SECRET_BYTES_MAX 4096

static bool is_name(const char *name);
static bool read_file(const char *directory, const char *name, Text *secret);
static bool read_variable(const char *name, Text *secret);

bool
secret_find(const Config *config, const char *name, Text *secret)
{
	const char *directory = config->secrets_dir;

	if (directory[0] == '\0')
		directory = getenv("CREDENTIALS_DIRECTORY");
	return is_name(name) && ((directory != NULL && directory[0] != '\0' &&
							  read_file(directory, name, secret)) ||
							 read_variable(name, secret));
}

void
secret_free(Text *secret)
{
	if (secret->data != NULL)
		explicit_bzero(secret->data, secret->length);
	text_free(secret);
}

static bool
is_name(const char *name)
{
	return name[0] != '\0' &&
		   name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_")] == '\0';
}

static bool
read_file(const char *directory, const char *name, Text *secret)
{
	char path[4096];
	char line[SECRET_BYTES_MAX + 2];
	FILE *file;

	if (snprintf(path, sizeof(path), "%s/%s", directory, name) >=
		(int) sizeof(path))
		return false;
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	if (fgets(line, sizeof(line), file) != NULL)
		text_add(secret, line, strcspn(line, "\r\n"));
	explicit_bzero(line, sizeof(line));
	fclose(file);
	return secret->length > 0 && !secret->failed;
}

static bool
read_variable(const char *name, Text *secret)
{
	char variable[80] = "SECRET_";
	const char *value;
	size_t length = strlen(variable);

	for (; *name != '\0' && length < sizeof(variable) - 1; name++)
		variable[length++] =
			(char) (*name == '-' ? '_' : toupper((unsigned char) *name));
	variable[length] = '\0';
	value = getenv(variable);
	if (value != NULL)
		text_add_string(secret, value);
	return secret->length > 0 && !secret->failed;
}

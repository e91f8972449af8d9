/*
 * file.c: reads a file of settings, as systemd reads an EnvironmentFile.
 *
 * The same file can so be given to systemd, to a shell that "sources" it, and
 * to the gateway. Lines that begin with # or ; are comments. A value may be in
 * single quotes, which keep everything, or in double quotes, in which a
 * backslash precedes ", \, $ and `; both may extend over lines. In a value
 * without quotes a backslash keeps the next character, or continues the line.
 * White space around names and values is dropped.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/file.h"

#define FILE_MAX_BYTES 65536

static char *read_content(const char *path, Text *error);
static bool take_settings(FileSettings *settings,
						  const char *path,
						  bool strict,
						  Text *error);
static long count_lines(const char *text);
static char *take_value(char *in);
static char *take_quoted(char *in, char **out);
static bool add_setting(FileSettings *settings, char *name, char *value);

bool
file_read(FileSettings *settings, const char *path, bool strict, Text *error)
{
	settings->content = read_content(path, error);
	return settings->content != NULL &&
		   take_settings(settings, path, strict, error);
}

const char *
file_find(const FileSettings *settings, const char *name)
{
	for (size_t i = settings->count; i > 0; i--)
	{
		if (strcmp(settings->list[i - 1].name, name) == 0)
			return settings->list[i - 1].value;
	}
	return NULL;
}

void
file_free(FileSettings *settings)
{
	free(settings->list);
	free(settings->content);
	memset(settings, 0, sizeof(*settings));
}

/* The caller frees it. */
static char *
read_content(const char *path, Text *error)
{
	char *content = malloc(FILE_MAX_BYTES + 2);
	FILE *file = fopen(path, "r");
	size_t length = 0;
	char reason[128];

	errno = content == NULL ? ENOMEM : errno;
	if (content != NULL && file != NULL)
	{
		errno = 0;
		length = fread(content, 1, FILE_MAX_BYTES + 1, file);
		if (length > FILE_MAX_BYTES)
			errno = EFBIG;
	}
	if (content == NULL || file == NULL || errno != 0)
	{
		text_addf(error,
				  "could not read \"%s\": %s",
				  path,
				  strerror_r(errno, reason, sizeof(reason)));
		free(content);
		content = NULL;
	}
	else
		content[length] = '\0';
	if (file != NULL)
		fclose(file);
	return content;
}

static bool
take_settings(FileSettings *settings,
			  const char *path,
			  bool strict,
			  Text *error)
{
	/* Values are changed in place, so lines are counted in a copy. */
	char *copy = strdup(settings->content);
	char *in = settings->content;
	bool done = copy != NULL;

	while (done && *(in += strspn(in, " \t\r\n")) != '\0')
	{
		char *name = in;
		char *sign = in + strcspn(in, "=\r\n");

		if (*name != '#' && *name != ';' && *sign == '=' && sign > name)
		{
			in = take_value(sign + 1);
			*sign = '\0';
			if (strncmp(name, "export ", 7) == 0)
				name += 7 + strspn(name + 7, " \t");
			name[strcspn(name, " \t")] = '\0';
			done = add_setting(settings, name, sign + 1);
			continue;
		}
		in += strcspn(in, "\r\n");
		if (strict && *name != '#' && *name != ';')
		{
			copy[name - settings->content] = '\0';
			text_addf(error,
					  "line %ld of \"%s\" must be NAME=VALUE",
					  count_lines(copy) + 1,
					  path);
			free(copy);
			return false;
		}
	}
	if (!done)
		text_add_string(error, "out of memory");
	free(copy);
	return done;
}

static long
count_lines(const char *text)
{
	long lines = 0;

	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

/*
 * Replaces the text at "in" by the value that it stands for, which is never
 * longer, and ends it. Returns where the rest of the file begins.
 */
static char *
take_value(char *in)
{
	char *out = in;
	char *end = out;	  /* white space behind it is dropped */
	bool started = false; /* a character without quotes has been seen */

	while (*in != '\0' && *in != '\n' && *in != '\r')
	{
		if (!started && (*in == ' ' || *in == '\t'))
			in++;
		else if (!started && (*in == '"' || *in == '\''))
		{
			in = take_quoted(in, &out);
			end = out;
		}
		else if (*in == '\\' && in[1] != '\0')
		{
			started = true;
			if (in[1] != '\n')
				*out++ = in[1];
			end = out;
			in += 2;
		}
		else
		{
			started = true;
			*out++ = *in;
			if (*in != ' ' && *in != '\t')
				end = out;
			in++;
		}
	}
	if (*in != '\0')
		in++;
	*end = '\0';
	return in;
}

/* From the opening quote to behind the closing one. */
static char *
take_quoted(char *in, char **out)
{
	char quote = *in++;

	while (*in != '\0' && *in != quote)
	{
		if (quote == '"' && *in == '\\' && in[1] != '\0')
		{
			if (strchr("\"\\`$\n", in[1]) == NULL)
				*(*out)++ = '\\';
			if (in[1] != '\n')
				*(*out)++ = in[1];
			in += 2;
		}
		else
			*(*out)++ = *in++;
	}
	return *in != '\0' ? in + 1 : in;
}

static bool
add_setting(FileSettings *settings, char *name, char *value)
{
	FileSetting *list =
		realloc(settings->list, (settings->count + 1) * sizeof(*list));

	if (list == NULL)
		return false;
	settings->list = list;
	list[settings->count++] = (FileSetting){name, value};
	return true;
}

/*
 * headers.c: what a request's headers say.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "http/headers.h"

static bool is_name(const char *header, const char *name);
static void scan_accept(const char *value,
						const char *type,
						int *specificity,
						int *quality);
static int
range_specificity(const char *range, size_t length, const char *type);
static int range_quality(const char *parameters, size_t length);

const char *
request_header(const Request *request, const char *name)
{
	for (int i = 0; i < request->info->num_headers; i++)
	{
		if (is_name(request->info->http_headers[i].name, name))
			return request->info->http_headers[i].value;
	}
	return NULL;
}

const char *
request_find_repeated(const Request *request)
{
	static const char *const single[] = {"Authorization",
										 "Content-Type",
										 "Idempotency-Key",
										 "If-Match",
										 "If-None-Match"};
	int lines[5] = {0};

	for (int i = 0; i < request->info->num_headers; i++)
	{
		const char *name = request->info->http_headers[i].name;

		for (int j = 0; j < 5; j++)
		{
			if (is_name(name, single[j]) && ++lines[j] > 1)
				return single[j];
		}
	}
	return NULL;
}

/* Most headers have another first letter. */
static bool
is_name(const char *header, const char *name)
{
	return (header[0] | 0x20) == (name[0] | 0x20) &&
		   strcasecmp(header, name) == 0;
}

bool
request_is_head(const Request *request)
{
	return strcmp(request->method, "HEAD") == 0;
}

bool
request_has_json_type(const Request *request)
{
	static const char prefix[] = "application/";
	static const char suffix[] = "+json";
	const char *type = request_header(request, "Content-Type");
	size_t length;

	if (type == NULL || strncasecmp(type, prefix, strlen(prefix)) != 0)
		return false;
	type += strlen(prefix);
	length = strcspn(type, "; \t");
	if (length == strlen("json"))
		return strncasecmp(type, "json", length) == 0;
	return length > strlen(suffix) &&
		   strncasecmp(type + length - strlen(suffix),
					   suffix,
					   strlen(suffix)) == 0;
}

int
request_accepts(const Request *request, const char *type, bool *exact)
{
	int specificity = 0;
	int quality = 0;
	bool given = false;

	for (int i = 0; i < request->info->num_headers; i++)
	{
		const char *value = request->info->http_headers[i].value;

		if (strcasecmp(request->info->http_headers[i].name, "Accept") == 0 &&
			value[strspn(value, " \t")] != '\0')
		{
			given = true;
			scan_accept(value, type, &specificity, &quality);
		}
	}
	*exact = specificity == 3;
	return given ? quality : 1000;
}

static void
scan_accept(const char *value, const char *type, int *specificity, int *quality)
{
	while (*value != '\0')
	{
		size_t entry = strcspn(value, ",");
		size_t range;
		int found;

		while (entry > 0 && (*value == ' ' || *value == '\t'))
		{
			value++;
			entry--;
		}
		range = strcspn(value, ",; \t");
		found = range_specificity(value, range, type);
		if (found > 0 && found >= *specificity)
		{
			int q = range_quality(value + range, entry - range);

			*quality = found > *specificity || q > *quality ? q : *quality;
			*specificity = found;
		}
		value += entry;
		value += *value == ',';
	}
}

/* 3: exactly this type, 2: all of its kind, 1: any type, 0: another type. */
static int
range_specificity(const char *range, size_t length, const char *type)
{
	size_t kind = strcspn(type, "/") + 1;

	if (length == strlen(type) && strncasecmp(range, type, length) == 0)
		return 3;
	if (length == kind + 1 && strncasecmp(range, type, kind) == 0 &&
		range[kind] == '*')
		return 2;
	return length == 3 && memcmp(range, "*/*", 3) == 0 ? 1 : 0;
}

/* The q of a range in thousandths; 1000 if missing. */
static int
range_quality(const char *parameters, size_t length)
{
	const char *end = parameters + length;

	for (const char *c = parameters; c + 2 < end; c++)
	{
		int quality;
		int weight = 100;

		if ((c[0] != 'q' && c[0] != 'Q') || c[1] != '=' ||
			(c > parameters && c[-1] != ';' && c[-1] != ' '))
			continue;
		if (c[2] != '0')
			return 1000;
		quality = 0;
		for (c += 4; c < end && isdigit((unsigned char) *c); c++, weight /= 10)
			quality += (*c - '0') * weight;
		return quality;
	}
	return 1000;
}

/*
 * sources/form.c: reads the forms in which providers send webhooks.
 *
 * A field is kept as the bytes that were sent, because signatures are made of
 * bytes; decode.c makes text of them. A body comes from anybody who knows the
 * path of a source, so every step is bounded by the length of the data.
 */
#include "postgres.h"

#include "sources/form.h"

/* More fields than any provider sends; a body with more is refused. */
#define MAX_FIELDS 1000

/* RFC 2046 allows 70 characters. */
#define MAX_BOUNDARY 200

static FormBytes decode_percent(const char *s, size_t length);
static int hex_value(char c);
static const char *find_delimiter(const char *at,
								  const char *end,
								  const char *marker,
								  size_t size);
static bool find_boundary(const char *content_type, FormBytes *boundary);
static bool read_part(FormBytes head, FormBytes content, List **fields);
static FormBytes find_header(FormBytes head, const char *name);
static bool
find_parameter(FormBytes header, const char *name, FormBytes *value);
static FormBytes unescape(const char *s, size_t length);
static FormBytes decode_extended(FormBytes value);
static int compare_bytes(FormBytes a, FormBytes b);

List *
form_parse(const char *data, size_t length)
{
	List *fields = NIL;
	const char *at = data;
	const char *end = data + length;

	while (at < end && list_length(fields) < MAX_FIELDS)
	{
		const char *stop = memchr(at, '&', end - at);
		const char *equals;
		FormField *field;

		if (stop == NULL)
			stop = end;
		equals = memchr(at, '=', stop - at);
		if (stop > at)
		{
			field = palloc0(sizeof(FormField));
			field->name = decode_percent(at, (equals ? equals : stop) - at);
			field->value = equals
							   ? decode_percent(equals + 1, stop - equals - 1)
							   : decode_percent("", 0);
			fields = lappend(fields, field);
		}
		at = stop + 1;
	}
	return fields;
}

static FormBytes
decode_percent(const char *s, size_t length)
{
	char *out = palloc(length + 1);
	FormBytes bytes = {out, 0};
	size_t i;

	for (i = 0; i < length; i++)
	{
		if (s[i] == '%' && i + 2 < length && hex_value(s[i + 1]) >= 0 &&
			hex_value(s[i + 2]) >= 0)
		{
			out[bytes.length++] =
				(char) (hex_value(s[i + 1]) * 16 + hex_value(s[i + 2]));
			i += 2;
		}
		else
			out[bytes.length++] = s[i] == '+' ? ' ' : s[i];
	}
	out[bytes.length] = '\0';
	return bytes;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
multipart_parse(const char *content_type,
				const char *data,
				size_t length,
				List **fields)
{
	FormBytes boundary;
	char *marker;
	size_t size;
	const char *at;
	const char *end = data + length;

	*fields = NIL;
	if (!find_boundary(content_type, &boundary))
		return false;
	marker = psprintf("\r\n--%.*s", (int) boundary.length, boundary.data);
	size = strlen(marker);
	/* The first delimiter may have no line before it. */
	if (length >= size - 2 && memcmp(data, marker + 2, size - 2) == 0)
		at = data + size - 2;
	else
	{
		at = find_delimiter(data, end, marker, size);
		if (at == NULL)
			return false;
		at += size;
	}
	while (end - at >= 2 && memcmp(at, "--", 2) != 0)
	{
		const char *line = memmem(at, end - at, "\r\n", 2);
		const char *stop;
		const char *blank;
		FormBytes head;
		FormBytes content;

		if (line == NULL)
			return false;
		/* From the line's end, so that a part without headers has one, too. */
		stop = find_delimiter(line, end, marker, size);
		blank = memmem(line, end - line, "\r\n\r\n", 4);
		if (stop == NULL || blank == NULL || blank + 4 > stop + 2)
			return false;
		head.data = line;
		head.length = blank + 2 - line;
		content.data = blank + 4;
		content.length = stop > content.data ? stop - content.data : 0;
		if (!read_part(head, content, fields))
			return false;
		at = stop + size;
	}
	return end - at >= 2;
}

/* A line that only begins like the boundary is content. */
static const char *
find_delimiter(const char *at, const char *end, const char *marker, size_t size)
{
	while ((at = memmem(at, end - at, marker, size)) != NULL)
	{
		const char *after = at + size;

		if (end - after >= 2 && memcmp(after, "--", 2) == 0)
			return at;
		while (after < end && (*after == ' ' || *after == '\t'))
			after++;
		if (end - after >= 2 && memcmp(after, "\r\n", 2) == 0)
			return at;
		at++;
	}
	return NULL;
}

static bool
find_boundary(const char *content_type, FormBytes *boundary)
{
	FormBytes header = {content_type, strlen(content_type)};

	return find_parameter(header, "boundary", boundary) &&
		   boundary->length > 0 && boundary->length <= MAX_BOUNDARY;
}

static bool
read_part(FormBytes head, FormBytes content, List **fields)
{
	FormBytes disposition = find_header(head, "content-disposition");
	FormField *field = palloc0(sizeof(FormField));
	FormBytes extended;

	if (list_length(*fields) >= MAX_FIELDS ||
		!find_parameter(disposition, "name", &field->name))
		return false;
	field->value = content;
	field->type = find_header(head, "content-type");
	field->is_file = find_parameter(disposition, "filename", &field->filename);
	if (find_parameter(disposition, "filename*", &extended))
	{
		field->is_file = true;
		field->filename = decode_extended(extended);
	}
	*fields = lappend(*fields, field);
	return true;
}

/* The value of a header; the head starts and ends with a line's end. */
static FormBytes
find_header(FormBytes head, const char *name)
{
	FormBytes value = {"", 0};
	size_t size = strlen(name);
	const char *end = head.data + head.length;
	const char *at = head.data;

	while ((at = memmem(at, end - at, "\r\n", 2)) != NULL)
	{
		const char *stop;

		at += 2;
		if ((size_t) (end - at) <= size ||
			pg_strncasecmp(at, name, size) != 0 || at[size] != ':')
			continue;
		at += size + 1;
		stop = memmem(at, end - at, "\r\n", 2);
		if (stop == NULL)
			stop = end;
		while (at < stop && (*at == ' ' || *at == '\t'))
			at++;
		value.data = at;
		value.length = stop - at;
		return value;
	}
	return value;
}

/* A parameter of a header such as: form-data; name="a"; filename=b */
static bool
find_parameter(FormBytes header, const char *name, FormBytes *value)
{
	const char *at = header.data;
	const char *end = at + header.length;
	size_t size = strlen(name);

	while (at < end)
	{
		bool found;

		/* to the next semicolon that is not inside quotes */
		while (at < end && *at != ';')
		{
			if (*at == '"')
			{
				for (at++; at < end && *at != '"'; at++)
				{
					if (*at == '\\' && at + 1 < end)
						at++;
				}
			}
			if (at < end)
				at++;
		}
		for (; at < end && (*at == ';' || *at == ' ' || *at == '\t'); at++)
			;
		found = (size_t) (end - at) > size &&
				pg_strncasecmp(at, name, size) == 0 && at[size] == '=';
		if (found)
		{
			const char *start = at + size + 1;
			const char *stop = start;

			if (start < end && *start == '"')
			{
				for (stop = ++start; stop < end && *stop != '"'; stop++)
				{
					if (*stop == '\\' && stop + 1 < end)
						stop++;
				}
				*value = unescape(start, stop - start);
				return true;
			}
			while (stop < end && *stop != ';' && *stop != ' ' && *stop != '\t')
				stop++;
			value->data = start;
			value->length = stop - start;
			return true;
		}
	}
	return false;
}

/* Browsers write a quote in a name as %22, mail programs as \". */
static FormBytes
unescape(const char *s, size_t length)
{
	char *out = palloc(length + 1);
	FormBytes bytes = {out, 0};
	size_t i;

	for (i = 0; i < length; i++)
	{
		if (s[i] == '\\' && i + 1 < length &&
			(s[i + 1] == '"' || s[i + 1] == '\\'))
			i++;
		out[bytes.length++] = s[i];
	}
	out[bytes.length] = '\0';
	return bytes;
}

/* RFC 5987: UTF-8''na%C3%AFve.txt. Other charsets are left as they are. */
static FormBytes
decode_extended(FormBytes value)
{
	char *s = pnstrdup(value.data, value.length);
	char *quote = strchr(s, '\'');

	quote = quote != NULL ? strchr(quote + 1, '\'') : NULL;
	if (quote == NULL)
		return value;
	return decode_percent(quote + 1, strlen(quote + 1));
}

int
form_compare(const ListCell *a, const ListCell *b)
{
	const FormField *left = lfirst(a);
	const FormField *right = lfirst(b);
	int order = compare_bytes(left->name, right->name);

	return order != 0 ? order : compare_bytes(left->value, right->value);
}

static int
compare_bytes(FormBytes a, FormBytes b)
{
	size_t length = Min(a.length, b.length);
	int order = length > 0 ? memcmp(a.data, b.data, length) : 0;

	return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

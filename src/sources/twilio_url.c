/*
 * sources/twilio_url.c: the forms of a URL that Twilio may have signed.
 *
 * They are those that Twilio's own Node.js library tries (twilio 5,
 * lib/webhooks/webhooks.js, validateRequest): the URL as received; as the URL
 * standard normalizes it; and so with the query encoded again as Node.js'
 * querystring does. Each is tried without a port, and with the standard port
 * if it has none.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "sources/form.h"
#include "sources/twilio_url.h"

/* Where the parts of a URL begin. */
typedef struct UrlParts
{
	const char *host; /* behind the scheme and the user */
	const char *port; /* its colon, or the end of the host */
	const char *rest; /* path and query */
} UrlParts;

static bool find_parts(const char *url, UrlParts *parts);
static List *add_ports(List *forms, const char *url);
static List *add_form(List *forms, char *form);
static char *normalize(const char *url);
static bool is_escaped(unsigned char c, bool in_query);
static char *encode_query_again(const char *url);
static void write_component(FormBytes bytes, StringInfo out);

List *
twilio_url_forms(const char *url)
{
	List *forms = add_ports(NIL, url);
	char *normal = normalize(url);

	forms = add_ports(forms, normal);
	return add_ports(forms, encode_query_again(normal));
}

static bool
find_parts(const char *url, UrlParts *parts)
{
	const char *scheme = strstr(url, "://");
	const char *at;

	if (scheme == NULL)
		return false;
	parts->host = scheme + 3;
	parts->rest = parts->host + strcspn(parts->host, "/?#");
	for (at = parts->host; at < parts->rest; at++)
	{
		if (*at == '@')
			parts->host = at + 1;
	}
	/* The colons inside the brackets of an IPv6 address start no port. */
	at = memchr(parts->host, ']', parts->rest - parts->host);
	at = at != NULL ? at : parts->host;
	parts->port = memchr(at, ':', parts->rest - at);
	if (parts->port == NULL)
		parts->port = parts->rest;
	return true;
}

static List *
add_ports(List *forms, const char *url)
{
	UrlParts parts;
	bool has_port;

	if (!find_parts(url, &parts))
		return add_form(forms, pstrdup(url));
	has_port = parts.port + 1 < parts.rest;
	forms =
		add_form(forms,
				 psprintf("%.*s%s", (int) (parts.port - url), url, parts.rest));
	if (has_port)
		return add_form(forms, pstrdup(url));
	return add_form(
		forms,
		psprintf("%.*s:%s%s",
				 (int) (parts.port - url),
				 url,
				 pg_strncasecmp(url, "https:", 6) == 0 ? "443" : "80",
				 parts.rest));
}

static List *
add_form(List *forms, char *form)
{
	ListCell *cell;

	foreach (cell, forms)
	{
		if (strcmp(lfirst(cell), form) == 0)
			return forms;
	}
	return lappend(forms, form);
}

/*
 * As far as a webhook's URL needs it: scheme and host in lower case, no
 * standard port, at least "/" as path, and characters escaped that a URL cannot
 * have.
 */
static char *
normalize(const char *url)
{
	bool in_query = false;
	UrlParts parts;
	StringInfoData out;
	const char *port;

	initStringInfo(&out);
	if (!find_parts(url, &parts))
		return pstrdup(url);
	for (const char *c = url; c < parts.port; c++)
		appendStringInfoChar(&out, pg_ascii_tolower((unsigned char) *c));
	port = pg_strncasecmp(url, "https:", 6) == 0 ? ":443" : ":80";
	if (parts.rest - parts.port > 1 &&
		!(parts.rest - parts.port == (long) strlen(port) &&
		  strncmp(parts.port, port, strlen(port)) == 0))
		appendBinaryStringInfo(&out,
							   parts.port,
							   (int) (parts.rest - parts.port));
	if (*parts.rest != '/')
		appendStringInfoChar(&out, '/');
	for (const char *c = parts.rest; *c != '\0'; c++)
	{
		in_query |= *c == '?';
		if (is_escaped((unsigned char) *c, in_query))
			appendStringInfo(&out, "%%%02X", (unsigned char) *c);
		else
			appendStringInfoChar(&out, *c);
	}
	return out.data;
}

static bool
is_escaped(unsigned char c, bool in_query)
{
	return c <= ' ' || c >= 0x7f || strchr("\"<>", c) != NULL ||
		   strchr(in_query ? "'" : "`{}^", c) != NULL;
}

static char *
encode_query_again(const char *url)
{
	const char *query = strchr(url, '?');
	StringInfoData out;
	ListCell *cell;

	if (query == NULL || query[1] == '\0')
		return pstrdup(url);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, url, (int) (query + 1 - url));
	foreach (cell, form_parse(query + 1, strlen(query + 1)))
	{
		FormField *field = lfirst(cell);

		if (out.data[out.len - 1] != '?')
			appendStringInfoChar(&out, '&');
		write_component(field->name, &out);
		appendStringInfoChar(&out, '=');
		write_component(field->value, &out);
	}
	return out.data;
}

static void
write_component(FormBytes bytes, StringInfo out)
{
	for (size_t i = 0; i < bytes.length; i++)
	{
		unsigned char c = bytes.data[i];

		if (isalnum(c) || (c != '\0' && strchr("-_.!~*'()", c) != NULL))
			appendStringInfoChar(out, c);
		else
			appendStringInfo(out, "%%%02X", c);
	}
}

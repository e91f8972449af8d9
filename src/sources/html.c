/*
 * sources/html.c: the text of an HTML message, for snippets and for clients
 * that show text.
 *
 * libxml2 parses the HTML, with whatever errors it has. Style sheets, scripts
 * and comments are not text. The tree is walked without recursion, so that
 * deep nesting does not use up the stack.
 */
#include "postgres.h"

#include <libxml/HTMLparser.h>
#include <libxml/tree.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

static void write_document(htmlDocPtr document, StringInfo out);
static void enter(const xmlNode *node, StringInfo out);
static bool is_one_of(const xmlNode *node, const char *const *names);
static bool is_hidden(const xmlNode *node);
static void start_line(StringInfo out);
static void write_text(const char *text, StringInfo out);

PG_FUNCTION_INFO_V1(msgstore_html_to_text);

Datum
msgstore_html_to_text(PG_FUNCTION_ARGS)
{
	text *html = PG_GETARG_TEXT_PP(0);
	char *utf8 = pg_server_to_any(text_to_cstring(html),
								  VARSIZE_ANY_EXHDR(html),
								  PG_UTF8);
	StringInfoData out;
	htmlDocPtr document;

	initStringInfo(&out);
	document = htmlReadMemory(utf8,
							  (int) strlen(utf8),
							  NULL,
							  "UTF-8",
							  HTML_PARSE_RECOVER | HTML_PARSE_NOERROR |
								  HTML_PARSE_NOWARNING | HTML_PARSE_NONET);
	if (document == NULL)
		PG_RETURN_TEXT_P(cstring_to_text(""));
	PG_TRY();
	{
		write_document(document, &out);
	}
	PG_FINALLY();
	{
		xmlFreeDoc(document);
	}
	PG_END_TRY();
	while (out.len > 0 && strchr(" \n", out.data[out.len - 1]) != NULL)
		out.data[--out.len] = '\0';
	PG_RETURN_TEXT_P(
		cstring_to_text(pg_any_to_server(out.data, out.len, PG_UTF8)));
}

static void
write_document(htmlDocPtr document, StringInfo out)
{
	static const char *const blocks[] = {
		"address", "article", "blockquote", "dd",	  "div", "dl", "dt",
		"footer",  "form",	  "h1",			"h2",	  "h3",	 "h4", "h5",
		"h6",	   "header",  "hr",			"li",	  "ol",	 "p",  "pre",
		"section", "table",	  "tr",			"center", "ul",	 NULL};
	const xmlNode *node = xmlDocGetRootElement(document);

	while (node != NULL)
	{
		bool block = is_one_of(node, blocks);

		CHECK_FOR_INTERRUPTS();
		if (block)
			start_line(out);
		enter(node, out);
		if (node->children != NULL && !is_hidden(node))
		{
			node = node->children;
			continue;
		}
		while (node != NULL && node->next == NULL)
		{
			node = node->parent;
			if (node != NULL && is_one_of(node, blocks))
				start_line(out);
		}
		if (node != NULL)
			node = node->next;
	}
}

/* Writes what a node itself has to show. */
static void
enter(const xmlNode *node, StringInfo out)
{
	static const char *const breaks[] = {"br", NULL};
	static const char *const cells[] = {"td", "th", NULL};

	if (is_one_of(node, breaks))
		appendStringInfoChar(out, '\n');
	else if (is_one_of(node, cells))
		write_text(" ", out);
	else if (node->type == XML_TEXT_NODE && node->content != NULL)
		write_text((const char *) node->content, out);
}

static bool
is_one_of(const xmlNode *node, const char *const *names)
{
	int i;

	for (i = 0; node->type == XML_ELEMENT_NODE && names[i] != NULL; i++)
	{
		if (pg_strcasecmp((const char *) node->name, names[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_hidden(const xmlNode *node)
{
	static const char *const hidden[] =
		{"head", "script", "style", "template", "title", NULL};

	return node->type != XML_ELEMENT_NODE || is_one_of(node, hidden);
}

static void
start_line(StringInfo out)
{
	while (out->len > 0 && out->data[out->len - 1] == ' ')
		out->data[--out->len] = '\0';
	if (out->len > 0 && out->data[out->len - 1] != '\n')
		appendStringInfoChar(out, '\n');
}

/* White space is one blank, also a no-break space (U+00A0). */
static void
write_text(const char *text, StringInfo out)
{
	for (; *text != '\0'; text++)
	{
		bool no_break = text[0] == '\xc2' && text[1] == '\xa0';

		if (!no_break && strchr(" \t\r\n\f", *text) == NULL)
		{
			appendStringInfoChar(out, *text);
			continue;
		}
		if (out->len > 0 && strchr(" \n", out->data[out->len - 1]) == NULL)
			appendStringInfoChar(out, ' ');
		text += no_break;
	}
}

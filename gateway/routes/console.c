/*
 * console.c: the pages of the console. They call the same routes as any other
 * client.
 */
#include <string.h>

#include "config/config.h"
#include "console/assets.h"
#include "gateway.h"
#include "http/headers.h"
#include "http/reply.h"
#include "routes/handlers.h"
#include "text.h"

/*
 * Only the files of the console run and style it. A frame with an HTML message
 * inherits this and is sandboxed as well. Attachments are links, so nothing is
 * fetched from elsewhere.
 */
static const char policy[] =
	"default-src 'none'; script-src 'self'; style-src 'self'; "
	"img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
	"form-action 'none'; frame-ancestors 'none'";

static void answer(Request *request, const char *name);
static bool takes_gzip(const Request *request);

void
get_console(Request *request)
{
	answer(request, "index.html");
}

void
get_console_file(Request *request)
{
	answer(request, request->segment);
}

static void
answer(Request *request, const char *name)
{
	const Asset *asset =
		request->gateway->config->console ? asset_find(name) : NULL;
	const char *known = request_header(request, "If-None-Match");
	Reply *reply = &request->reply;
	Text body = {0};

	if (asset == NULL)
	{
		reply_error(request, 404, "path does not exist");
		return;
	}
	reply->policy = policy;
	reply->cached = true;
	text_addf(&reply->headers,
			  "ETag: %s\r\nVary: Accept-Encoding\r\n",
			  asset->tag);
	if (known != NULL && strstr(known, asset->tag) != NULL)
	{
		reply_body(request, 304, NULL, &body);
		return;
	}
	if (takes_gzip(request))
	{
		text_add_string(&reply->headers, "Content-Encoding: gzip\r\n");
		text_add(&body, (const char *) asset->gzip, asset->gzip_length);
	}
	else
		text_add(&body, (const char *) asset->plain, asset->plain_length);
	reply_body(request, 200, asset_type(asset), &body);
}

static bool
takes_gzip(const Request *request)
{
	const char *codings = request_header(request, "Accept-Encoding");

	return codings != NULL && strstr(codings, "gzip") != NULL &&
		   strstr(codings, "gzip;q=0") == NULL;
}

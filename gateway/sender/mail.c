/*
 * mail.c: an e-mail as libcurl sends it.
 *
 * The database has written the headers; here they get their parts. libcurl
 * encodes the parts, escapes dots and speaks SMTP.
 */
#include <string.h>

#include <cjson/cJSON.h>

#include "sender/file.h"
#include "sender/mail.h"

static bool set_envelope(CURL *easy, const cJSON *mail, MailParts *parts);
static bool set_headers(CURL *easy, const cJSON *mail, MailParts *parts);
static bool set_parts(CURL *easy, const cJSON *mail, MailParts *parts);
static bool add_text(curl_mime *mime, const cJSON *text, const char *type);
static bool add_files(curl_mime *mime, const cJSON *files);
static bool append(struct curl_slist **list, const char *line);

bool
mail_prepare(CURL *easy, const char *json, size_t length, MailParts *parts)
{
	cJSON *mail = cJSON_ParseWithLength(json, length);
	bool done = mail != NULL && set_envelope(easy, mail, parts) &&
				set_headers(easy, mail, parts) && set_parts(easy, mail, parts);

	cJSON_Delete(mail);
	return done;
}

void
mail_free(MailParts *parts)
{
	curl_mime_free(parts->mime);
	curl_slist_free_all(parts->headers);
	curl_slist_free_all(parts->recipients);
	*parts = (MailParts){0};
}

static bool
set_envelope(CURL *easy, const cJSON *mail, MailParts *parts)
{
	const char *from =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(mail, "from"));
	const cJSON *recipients = cJSON_GetObjectItemCaseSensitive(mail, "to");
	const cJSON *recipient;

	cJSON_ArrayForEach(recipient, recipients)
	{
		if (!append(&parts->recipients, cJSON_GetStringValue(recipient)))
			return false;
	}
	return from != NULL && parts->recipients != NULL &&
		   curl_easy_setopt(easy, CURLOPT_MAIL_FROM, from) == CURLE_OK &&
		   curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, parts->recipients) ==
			   CURLE_OK;
}

static bool
set_headers(CURL *easy, const cJSON *mail, MailParts *parts)
{
	const cJSON *header;

	cJSON_ArrayForEach(header,
					   cJSON_GetObjectItemCaseSensitive(mail, "headers"))
	{
		if (!append(&parts->headers, cJSON_GetStringValue(header)))
			return false;
	}
	return curl_easy_setopt(easy, CURLOPT_HTTPHEADER, parts->headers) ==
		   CURLE_OK;
}

/* Text and HTML are alternatives; HTML comes last, because it is preferred. */
static bool
set_parts(CURL *easy, const cJSON *mail, MailParts *parts)
{
	const cJSON *text = cJSON_GetObjectItemCaseSensitive(mail, "text");
	const cJSON *html = cJSON_GetObjectItemCaseSensitive(mail, "html");
	curl_mime *mime = curl_mime_init(easy);
	curl_mime *both = curl_mime_init(easy);
	curl_mimepart *part = curl_mime_addpart(mime);
	bool done = part != NULL && both != NULL;

	parts->mime = mime;
	done = done && (!cJSON_IsString(text) ||
					add_text(both, text, "text/plain; charset=UTF-8"));
	done = done && (!cJSON_IsString(html) ||
					add_text(both, html, "text/html; charset=UTF-8"));
	done = done && curl_mime_subparts(part, both) == CURLE_OK;
	if (!done)
	{
		curl_mime_free(both);
		return false;
	}
	return curl_mime_type(part, "multipart/alternative") == CURLE_OK &&
		   add_files(mime, cJSON_GetObjectItemCaseSensitive(mail, "files")) &&
		   curl_easy_setopt(easy, CURLOPT_MIMEPOST, mime) == CURLE_OK;
}

static bool
add_text(curl_mime *mime, const cJSON *text, const char *type)
{
	curl_mimepart *part = curl_mime_addpart(mime);

	return part != NULL &&
		   curl_mime_data(part, text->valuestring, CURL_ZERO_TERMINATED) ==
			   CURLE_OK &&
		   curl_mime_type(part, type) == CURLE_OK &&
		   curl_mime_encoder(part, "quoted-printable") == CURLE_OK;
}

/* libcurl would write a name in UTF-8 as it is; the database has encoded it. */
static bool
add_files(curl_mime *mime, const cJSON *files)
{
	const cJSON *file;

	cJSON_ArrayForEach(file, files)
	{
		curl_mimepart *part = curl_mime_addpart(mime);
		struct curl_slist *headers = NULL;

		if (part == NULL || !file_fill(part, file) ||
			!append(&headers, file_member(file, "header")))
			return false;
		if (curl_mime_headers(part, headers, 1) != CURLE_OK)
		{
			curl_slist_free_all(headers);
			return false;
		}
		if (curl_mime_encoder(part, "base64") != CURLE_OK)
			return false;
	}
	return true;
}

static bool
append(struct curl_slist **list, const char *line)
{
	struct curl_slist *longer =
		line != NULL ? curl_slist_append(*list, line) : NULL;

	if (longer != NULL)
		*list = longer;
	return longer != NULL;
}

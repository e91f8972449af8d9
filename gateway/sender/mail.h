/*
 * mail.h: an e-mail as libcurl sends it.
 */
#ifndef MAIL_H
#define MAIL_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

/* What must live as long as the transfer; a zeroed one is empty. */
typedef struct MailParts
{
	struct curl_slist *headers;
	struct curl_slist *recipients;
	curl_mime *mime;
} MailParts;

/*
 * Sets a mail from a JSON object of from, to, text, html, files and headers.
 * Returns false if that cannot be. The caller frees the parts.
 */
bool
mail_prepare(CURL *easy, const char *json, size_t length, MailParts *parts);
void mail_free(MailParts *parts);

#endif /* MAIL_H */

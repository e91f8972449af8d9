/*
 * file.c: a file as a part of a request.
 *
 * The database passes it as an object of name, type and content in base64,
 * because JSON has no bytes.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "sender/file.h"

static bool set_content(curl_mimepart *part, const char *base64);

bool
file_fill(curl_mimepart *part, const cJSON *file)
{
	const char *content = file_member(file, "content");
	const char *name = file_member(file, "name");
	const char *type = file_member(file, "type");

	return content != NULL && name != NULL && type != NULL &&
		   set_content(part, content) &&
		   curl_mime_filename(part, name) == CURLE_OK &&
		   curl_mime_type(part, type) == CURLE_OK;
}

const char *
file_member(const cJSON *file, const char *name)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(file, name));
}

/* OpenSSL decodes the padding as zeros. */
static bool
set_content(curl_mimepart *part, const char *base64)
{
	size_t length = strlen(base64);
	unsigned char *bytes = malloc(length + 1);
	int count = -1;
	bool done;

	if (bytes != NULL)
		count = EVP_DecodeBlock(bytes,
								(const unsigned char *) base64,
								(int) length);
	if (count > 0 && base64[length - 1] == '=')
		count -= base64[length - 2] == '=' ? 2 : 1;
	done =
		count >= 0 &&
		curl_mime_data(part, (const char *) bytes, (size_t) count) == CURLE_OK;
	free(bytes);
	return done;
}

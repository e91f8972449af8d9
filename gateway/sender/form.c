/*
 * form.c: multipart/form-data, for providers that take files in no other form.
 *
 * libcurl could send such a body twice if a connection that it reuses turns out
 * to be closed (see transfer.c), so these requests get a connection of their
 * own.
 */
#include "sender/form.h"

#include "sender/file.h"

static bool add_value(curl_mime *mime, const char *name, const cJSON *value);
static bool add_field(curl_mime *mime, const char *name, const cJSON *value);

bool
form_prepare(CURL *easy, const char *json, size_t length, curl_mime **mime)
{
	cJSON *fields = cJSON_ParseWithLength(json, length);
	const cJSON *field;
	bool done = cJSON_IsObject(fields);

	*mime = curl_mime_init(easy);
	cJSON_ArrayForEach(field, fields)
	{
		done = done && add_value(*mime, field->string, field);
	}
	cJSON_Delete(fields);
	return done && *mime != NULL &&
		   curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
		   curl_easy_setopt(easy, CURLOPT_MIMEPOST, *mime) == CURLE_OK;
}

static bool
add_value(curl_mime *mime, const char *name, const cJSON *value)
{
	const cJSON *element;

	if (!cJSON_IsArray(value))
		return add_field(mime, name, value);
	cJSON_ArrayForEach(element, value)
	{
		if (!add_field(mime, name, element))
			return false;
	}
	return true;
}

static bool
add_field(curl_mime *mime, const char *name, const cJSON *value)
{
	curl_mimepart *part = curl_mime_addpart(mime);

	if (part == NULL || curl_mime_name(part, name) != CURLE_OK)
		return false;
	return cJSON_IsObject(value)
			   ? file_fill(part, value)
			   : cJSON_IsString(value) &&
					 curl_mime_data(part,
									value->valuestring,
									CURL_ZERO_TERMINATED) == CURLE_OK;
}

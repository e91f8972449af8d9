/*
 * mail.c: any e-mail.
 *
 * Whatever is in it, the result is one JSON object that the database can store,
 * and its attachments lie within their bytes.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "http/json.h"
#include "mail/mail.h"
#include "fuzz.h"

static void check_attachments(const cJSON *mail, size_t length);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	Text json = {0};
	Text files = {0};
	JsonFault fault;
	char *bytes = malloc(size);
	cJSON *mail;

	if (!ready)
		mail_init();
	ready = true;
	memcpy(bytes, data, size);
	PROMISE(mail_read(bytes, size, &json, &files));
	free(bytes);
	PROMISE(json_is_object(json.data, json.length, &fault));
	mail = cJSON_Parse(json.data);
	PROMISE(mail != NULL);
	check_attachments(mail, files.length);
	cJSON_Delete(mail);
	text_free(&json);
	text_free(&files);
	return 0;
}

static void
check_attachments(const cJSON *mail, size_t length)
{
	const cJSON *list = cJSON_GetObjectItem(mail, "attachments");
	const cJSON *file;
	size_t at = 0;

	cJSON_ArrayForEach(file, list)
	{
		PROMISE(cJSON_GetObjectItem(file, "offset")->valuedouble ==
				(double) at);
		at += (size_t) cJSON_GetObjectItem(file, "size")->valuedouble;
	}
	PROMISE(at == length);
}

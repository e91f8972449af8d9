/*
 * mail.c: makes JSON of an e-mail.
 *
 * GMime parses it and decodes charsets, encoded words and transfer encodings.
 * Whatever the sender wrote, the result is valid UTF-8 without NULs, because
 * the database can store nothing else. An e-mail comes from anybody, so its
 * depth and the number of its parts are bounded here; its size is bounded by
 * that of the body.
 */
#include <pthread.h>
#include <string.h>

#include <gmime/gmime.h>

#include "mail/mail.h"

/* What is deeper or more is one attachment, or left out. */
#define MAX_DEPTH 30
#define MAX_PARTS 2000

/* The headers that are kept, in bytes of JSON. */
#define MAX_HEADERS 32768

/*
 * GMime parses parts in parts by recursion, to a depth of its own. It takes
 * 150 kB for that; the threads of civetweb have 100 kB.
 */
#define STACK_BYTES (1024 * 1024)

typedef struct Task
{
	const char *data;
	size_t length;
	Text *json;
	Text *files;
	bool done;
} Task;

typedef struct Reader
{
	GMimeParserOptions *options;
	Text text;
	Text html;
	Text attachments; /* elements of a JSON array */
	Text *files;
	int parts;
} Reader;

static void *run(void *argument);
static bool read_all(const char *data, size_t length, Text *json, Text *files);
static GMimeMessage *
parse(const char *data, size_t length, GMimeParserOptions *options);
static void read_message(Reader *reader, GMimeMessage *message, Text *json);
static void read_part(Reader *reader, GMimeObject *part, int depth);
static bool is_text(GMimeObject *part, const char *subtype);
static char *decode_text(const Reader *reader, GMimeTextPart *part);
static void
add_body_text(const Reader *reader, GMimeTextPart *part, Text *text);
static void add_attachment(Reader *reader, GMimeObject *part);
static char *find_name(GMimeObject *part);
static void add_content(GMimeObject *part, Text *files);
static void add_headers(GMimeMessage *message, Text *json);
static void add_addresses(const char *name,
						  GMimeMessage *message,
						  GMimeAddressType type,
						  Text *json);
static bool
add_mailboxes(InternetAddressList *list, int depth, bool more, Text *json);
static void add_sender(const char *name, InternetAddressList *list, Text *json);
static void
add_ids(const char *name, const char *header, Reader *reader, Text *json);
static void add_date(GMimeMessage *message, Text *json);
static void add_member(Text *json, const char *name, const char *value);

void
mail_init(void)
{
	g_mime_init();
}

bool
mail_read(const char *data, size_t length, Text *json, Text *files)
{
	Task task = {data, length, json, files, false};
	pthread_attr_t attributes;
	pthread_t thread;
	bool started;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	started = pthread_create(&thread, &attributes, run, &task) == 0;
	pthread_attr_destroy(&attributes);
	if (!started)
		return false;
	pthread_join(thread, NULL);
	return task.done;
}

static void *
run(void *argument)
{
	Task *task = argument;

	task->done = read_all(task->data, task->length, task->json, task->files);
	return NULL;
}

static bool
read_all(const char *data, size_t length, Text *json, Text *files)
{
	static const char *const charsets[] = {"utf-8", "windows-1252", NULL};
	Reader reader = {.options = g_mime_parser_options_new(), .files = files};
	GMimeMessage *message;

	g_mime_parser_options_set_fallback_charsets(reader.options,
												(const char **) charsets);
	message = parse(data, length, reader.options);
	text_add_string(json, "{");
	if (message != NULL)
	{
		GMimeObject *part = g_mime_message_get_mime_part(message);

		if (part != NULL)
			read_part(&reader, part, 0);
		read_message(&reader, message, json);
		g_object_unref(message);
	}
	text_add_string(json, "}");
	g_mime_parser_options_free(reader.options);
	json->failed |=
		reader.text.failed || reader.html.failed || reader.attachments.failed;
	text_free(&reader.text);
	text_free(&reader.html);
	text_free(&reader.attachments);
	return !json->failed && !files->failed;
}

static GMimeMessage *
parse(const char *data, size_t length, GMimeParserOptions *options)
{
	GMimeStream *stream = g_mime_stream_mem_new_with_buffer(data, length);
	GMimeParser *parser = g_mime_parser_new_with_stream(stream);
	GMimeMessage *message;

	g_mime_parser_set_format(parser, GMIME_FORMAT_MESSAGE);
	message = g_mime_parser_construct_message(parser, options);
	g_object_unref(parser);
	g_object_unref(stream);
	return message;
}

static void
read_message(Reader *reader, GMimeMessage *message, Text *json)
{
	GMimeObject *object = GMIME_OBJECT(message);
	const char *id = g_mime_message_get_message_id(message);

	text_add_string(json, "\"headers\":");
	add_headers(message, json);
	add_sender("from", g_mime_message_get_from(message), json);
	add_sender("reply_to", g_mime_message_get_reply_to(message), json);
	add_addresses("to", message, GMIME_ADDRESS_TYPE_TO, json);
	add_addresses("cc", message, GMIME_ADDRESS_TYPE_CC, json);
	add_member(json, "subject", g_mime_message_get_subject(message));
	add_member(json, "message_id", id);
	add_ids("in_reply_to",
			g_mime_object_get_header(object, "In-Reply-To"),
			reader,
			json);
	add_ids("references",
			g_mime_object_get_header(object, "References"),
			reader,
			json);
	add_date(message, json);
	if (reader->text.length > 0)
		add_member(json, "text", reader->text.data);
	if (reader->html.length > 0)
		add_member(json, "html", reader->html.data);
	text_add_string(json, ",\"attachments\":[");
	text_add(json,
			 reader->attachments.length > 0 ? reader->attachments.data : "",
			 reader->attachments.length);
	text_add_string(json, "]");
}

static void
read_part(Reader *reader, GMimeObject *part, int depth)
{
	if (++reader->parts > MAX_PARTS)
		return;
	if (GMIME_IS_MULTIPART(part) && depth < MAX_DEPTH)
	{
		GMimeMultipart *multipart = GMIME_MULTIPART(part);
		int count = g_mime_multipart_get_count(multipart);

		for (int i = 0; i < count; i++)
			read_part(reader,
					  g_mime_multipart_get_part(multipart, i),
					  depth + 1);
	}
	else if (is_text(part, "plain"))
		add_body_text(reader, GMIME_TEXT_PART(part), &reader->text);
	else if (is_text(part, "html"))
		add_body_text(reader, GMIME_TEXT_PART(part), &reader->html);
	else
		add_attachment(reader, part);
}

/* A text with a name is a file. */
static bool
is_text(GMimeObject *part, const char *subtype)
{
	GMimeContentType *type = g_mime_object_get_content_type(part);

	return GMIME_IS_TEXT_PART(part) &&
		   g_mime_content_type_is_type(type, "text", subtype) &&
		   !g_mime_part_is_attachment(GMIME_PART(part)) &&
		   g_mime_part_get_filename(GMIME_PART(part)) == NULL;
}

/*
 * The caller frees it; NULL: it is empty. Text without a charset, or with
 * another one than it says, is windows-1252 in most cases.
 */
static char *
decode_text(const Reader *reader, GMimeTextPart *part)
{
	const char *charset =
		g_mime_object_get_content_type_parameter(GMIME_OBJECT(part), "charset");
	GMimeStream *stream = g_mime_stream_mem_new();
	GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(part));
	GByteArray *bytes =
		g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
	char *decoded = NULL;

	if (content != NULL)
		g_mime_data_wrapper_write_to_stream(content, stream);
	if (bytes->len > 0 && charset != NULL)
		decoded = g_convert((char *) bytes->data,
							(gssize) bytes->len,
							"utf-8",
							g_mime_charset_iconv_name(charset),
							NULL,
							NULL,
							NULL);
	if (bytes->len > 0 && decoded == NULL)
		decoded = g_mime_utils_decode_8bit(reader->options,
										   (char *) bytes->data,
										   bytes->len);
	g_object_unref(stream);
	return decoded;
}

/* Several texts follow one another, as a program for e-mail shows them. */
static void
add_body_text(const Reader *reader, GMimeTextPart *part, Text *text)
{
	char *decoded = decode_text(reader, part);

	if (decoded == NULL)
		return;
	if (text->length > 0 && text->data[text->length - 1] != '\n')
		text_add_string(text, "\n");
	text_add_string(text, decoded);
	g_free(decoded);
}

static void
add_attachment(Reader *reader, GMimeObject *part)
{
	Text *json = &reader->attachments;
	const char *id = g_mime_object_get_content_id(part);
	const char *disposition = g_mime_object_get_disposition(part);
	char *name = find_name(part);
	char *type =
		g_mime_content_type_get_mime_type(g_mime_object_get_content_type(part));
	size_t offset = reader->files->length;

	add_content(part, reader->files);
	text_addf(json,
			  "%s{\"offset\":%zu,\"size\":%zu",
			  json->length > 0 ? "," : "",
			  offset,
			  reader->files->length - offset);
	add_member(json, "name", name);
	add_member(json, "type", type);
	add_member(json, "id", id);
	if (id != NULL && (disposition == NULL ||
					   g_ascii_strcasecmp(disposition, "attachment") != 0))
		text_add_string(json, ",\"inline\":true");
	text_add_string(json, "}");
	g_free(name);
	g_free(type);
}

/* The caller frees it. NULL: it has none. */
static char *
find_name(GMimeObject *part)
{
	if (GMIME_IS_PART(part))
		return g_strdup(g_mime_part_get_filename(GMIME_PART(part)));
	if (GMIME_IS_MESSAGE_PART(part))
	{
		GMimeMessage *message =
			g_mime_message_part_get_message(GMIME_MESSAGE_PART(part));
		const char *subject =
			message != NULL ? g_mime_message_get_subject(message) : NULL;

		return g_strdup_printf("%s.eml", subject != NULL ? subject : "message");
	}
	return NULL;
}

/* A message in a message is written as it would be sent. */
static void
add_content(GMimeObject *part, Text *files)
{
	GMimeStream *stream = g_mime_stream_mem_new();
	GByteArray *bytes =
		g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
	GMimeFormatOptions *format = g_mime_format_options_new();
	GMimeMessage *message;
	GMimeDataWrapper *content;

	g_mime_format_options_set_newline_format(format, GMIME_NEWLINE_FORMAT_DOS);
	if (GMIME_IS_PART(part))
	{
		content = g_mime_part_get_content(GMIME_PART(part));
		if (content != NULL)
			g_mime_data_wrapper_write_to_stream(content, stream);
	}
	else if (GMIME_IS_MESSAGE_PART(part))
	{
		message = g_mime_message_part_get_message(GMIME_MESSAGE_PART(part));
		if (message != NULL)
			g_mime_object_write_to_stream(GMIME_OBJECT(message),
										  format,
										  stream);
	}
	else
		g_mime_object_write_to_stream(part, format, stream);
	if (bytes->len > 0)
		text_add(files, (const char *) bytes->data, bytes->len);
	g_mime_format_options_free(format);
	g_object_unref(stream);
}

/* [name, value] in their order. */
static void
add_headers(GMimeMessage *message, Text *json)
{
	GMimeHeaderList *list =
		g_mime_object_get_header_list(GMIME_OBJECT(message));
	int count = g_mime_header_list_get_count(list);
	size_t start = json->length;

	text_add_string(json, "[");
	for (int i = 0; i < count && json->length - start < MAX_HEADERS; i++)
	{
		GMimeHeader *header = g_mime_header_list_get_header_at(list, i);
		const char *name = g_mime_header_get_name(header);
		const char *value = g_mime_header_get_value(header);
		size_t length = value != NULL ? strlen(value) : 0;

		if (length > MAX_HEADERS / 4)
			length = MAX_HEADERS / 4;
		text_add_string(json, i > 0 ? ",[" : "[");
		text_add_json(json, name, strlen(name));
		text_add_string(json, ",");
		text_add_json(json, value != NULL ? value : "", length);
		text_add_string(json, "]");
	}
	text_add_string(json, "]");
}

static void
add_addresses(const char *name,
			  GMimeMessage *message,
			  GMimeAddressType type,
			  Text *json)
{
	text_addf(json, ",\"%s\":[", name);
	add_mailboxes(g_mime_message_get_addresses(message, type), 0, false, json);
	text_add_string(json, "]");
}

/* The addresses alone, also those of groups. Returns whether there are any. */
static bool
add_mailboxes(InternetAddressList *list, int depth, bool more, Text *json)
{
	int count = list != NULL ? internet_address_list_length(list) : 0;

	for (int i = 0; i < count && depth < MAX_DEPTH; i++)
	{
		InternetAddress *address = internet_address_list_get_address(list, i);
		const char *mailbox;

		if (INTERNET_ADDRESS_IS_GROUP(address))
		{
			more = add_mailboxes(internet_address_group_get_members(
									 INTERNET_ADDRESS_GROUP(address)),
								 depth + 1,
								 more,
								 json);
			continue;
		}
		mailbox = internet_address_mailbox_get_addr(
			INTERNET_ADDRESS_MAILBOX(address));
		if (mailbox == NULL || *mailbox == '\0')
			continue;
		text_add_string(json, more ? "," : "");
		text_add_json(json, mailbox, strlen(mailbox));
		more = true;
	}
	return more;
}

/* The first address, with its name. */
static void
add_sender(const char *name, InternetAddressList *list, Text *json)
{
	InternetAddress *address =
		list != NULL && internet_address_list_length(list) > 0
			? internet_address_list_get_address(list, 0)
			: NULL;
	char *text;

	if (address == NULL || !INTERNET_ADDRESS_IS_MAILBOX(address))
		return;
	text = internet_address_to_string(address, NULL, FALSE);
	add_member(json, name, text);
	g_free(text);
}

/* <a> <b> */
static void
add_ids(const char *name, const char *header, Reader *reader, Text *json)
{
	GMimeReferences *ids;
	Text text = {0};

	if (header == NULL)
		return;
	ids = g_mime_references_parse(reader->options, header);
	for (int i = 0; i < g_mime_references_length(ids); i++)
		text_addf(&text,
				  "%s<%s>",
				  i > 0 ? " " : "",
				  g_mime_references_get_message_id(ids, i));
	g_mime_references_free(ids);
	add_member(json, name, text.data);
	json->failed |= text.failed;
	text_free(&text);
}

static void
add_date(GMimeMessage *message, Text *json)
{
	GDateTime *date = g_mime_message_get_date(message);
	GDateTime *utc = date != NULL ? g_date_time_to_utc(date) : NULL;
	char *text =
		utc != NULL ? g_date_time_format(utc, "%Y-%m-%dT%H:%M:%SZ") : NULL;

	add_member(json, "date", text);
	g_free(text);
	if (utc != NULL)
		g_date_time_unref(utc);
}

/* NULL: no member. */
static void
add_member(Text *json, const char *name, const char *value)
{
	if (value == NULL)
		return;
	text_addf(json, ",\"%s\":", name);
	text_add_json(json, value, strlen(value));
}

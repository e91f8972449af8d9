/*
 * transfer.c: one request to a provider, by libcurl.
 *
 * A request must never be sent twice without the database's knowledge. libcurl
 * repeats one by itself if a connection that it reuses turns out to be closed;
 * it cannot if the body cannot be rewound, so rewind_body() refuses.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "clock.h"
#include "sender/form.h"
#include "sender/secret.h"
#include "sender/transfer.h"

#define ANSWER_BYTES_MAX (256 * 1024)
#define CONNECT_TIMEOUT_MS 10000L

static bool prepare(Transfer *transfer, const Config *config);
static bool
prepare_common(Transfer *transfer, const Config *config, long timeout_ms);
static bool prepare_http(Transfer *transfer);
static bool prepare_body(Transfer *transfer, const char *method);
static void prepare_media(Transfer *transfer);
static bool set_secret(Transfer *transfer, const Config *config);
static bool use_secret(Transfer *transfer, const char *secret);
static bool add_header(Transfer *transfer, const char *line, size_t length);
static size_t read_body(char *buffer, size_t size, size_t count, void *data);
static int rewind_body(void *data, curl_off_t offset, int origin);
static size_t keep_header(char *bytes, size_t size, size_t count, void *data);
static size_t keep_body(char *bytes, size_t size, size_t count, void *data);
static bool is_success(const Transfer *transfer);
static size_t keep(Text *text, const char *bytes, size_t length);
static curl_socket_t
open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address);
static bool is_private(const struct sockaddr *address);
static bool is_private4(uint32_t host);
static bool is_mail(const Transfer *transfer);
static void release(Transfer *transfer, CURLM *multi);

Transfer *
transfer_create(const Config *config, Kind kind, Batch *batch, int row)
{
	Transfer *transfer = calloc(1, sizeof(*transfer));

	if (transfer == NULL)
		return NULL;
	transfer->kind = kind;
	transfer->batch = batch;
	transfer->row = row;
	transfer->started_us = clock_us();
	transfer->ended_us = transfer->started_us;
	transfer->body = transfer_column(transfer, COLUMN_BODY);
	transfer->body_length = strlen(transfer->body);
	batch->users++;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !prepare(transfer, config))
	{
		if (transfer->failure.length == 0)
			text_add_string(&transfer->failure, "the request cannot be made");
		release(transfer, NULL);
	}
	return transfer;
}

void
transfer_end(Transfer *transfer, CURLM *multi, CURLcode code)
{
	curl_off_t uploaded = 0;
	long request_bytes = 0;

	curl_easy_getinfo(transfer->easy,
					  CURLINFO_RESPONSE_CODE,
					  &transfer->status);
	curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
	curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	transfer->was_sent = is_mail(transfer)
							 ? uploaded > 0
							 : request_bytes > 0 || transfer->body_read > 0;
	/* Mail: 354 asks for the mail, so there is no answer to it. */
	if (is_mail(transfer) && code == CURLE_OK)
		transfer->status = 250;
	else if (code != CURLE_OK &&
			 !(is_mail(transfer) && transfer->status >= 400))
		transfer->status = transfer->too_large ? 413 : 0;
	if (transfer->too_large)
		text_addf(&transfer->failure,
				  "the file has more than %zu bytes",
				  transfer->file_bytes_max);
	else if (code != CURLE_OK)
		text_add_string(&transfer->failure,
						transfer->curl_error[0] != '\0'
							? transfer->curl_error
							: curl_easy_strerror(code));
	release(transfer, multi);
}

void
transfer_abandon(Transfer *transfer, CURLM *multi, const char *reason)
{
	transfer_end(transfer, multi, CURLE_ABORTED_BY_CALLBACK);
	text_free(&transfer->failure);
	transfer->failure = (Text){0};
	text_add_string(&transfer->failure, reason);
	transfer->status = 0;
}

void
transfer_free(Transfer *transfer)
{
	release(transfer, NULL);
	text_free(&transfer->answer_headers);
	text_free(&transfer->answer_body);
	text_free(&transfer->failure);
	if (--transfer->batch->users == 0)
	{
		PQclear(transfer->batch->rows);
		free(transfer->batch);
	}
	free(transfer);
}

const char *
transfer_column(const Transfer *transfer, Column column)
{
	return PQgetvalue(transfer->batch->rows, transfer->row, (int) column);
}

static bool
prepare(Transfer *transfer, const Config *config)
{
	long timeout_ms = atol(transfer_column(transfer, COLUMN_TIMEOUT_MS));

	transfer->file_bytes_max =
		strtoul(transfer_column(transfer, COLUMN_MAX_BYTES), NULL, 10);
	transfer->allow_private =
		transfer->kind == KIND_MESSAGE || config->allow_private;
	return prepare_common(transfer, config, timeout_ms) &&
		   set_secret(transfer, config) &&
		   (is_mail(transfer) ? mail_prepare(transfer->easy,
											 transfer->body,
											 transfer->body_length,
											 &transfer->mail)
							  : prepare_http(transfer));
}

static bool
prepare_common(Transfer *transfer, const Config *config, long timeout_ms)
{
	CURL *easy = transfer->easy;
	long connect_ms =
		timeout_ms < CONNECT_TIMEOUT_MS ? timeout_ms : CONNECT_TIMEOUT_MS;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->curl_error);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "msgstore/" GATEWAY_VERSION);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, keep_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, keep_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	/* Else open_socket() sees the address of the environment's proxy. */
	if (!transfer->allow_private)
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	if (config->ca_file[0] != '\0' &&
		curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca_file) != CURLE_OK)
		return false;
	return curl_easy_setopt(easy,
							CURLOPT_PROTOCOLS_STR,
							is_mail(transfer) ? "smtp,smtps" : "http,https") ==
			   CURLE_OK &&
		   curl_easy_setopt(easy,
							CURLOPT_URL,
							transfer_column(transfer, COLUMN_URL)) == CURLE_OK;
}

static bool
prepare_http(Transfer *transfer)
{
	CURL *easy = transfer->easy;
	const char *method = transfer_column(transfer, COLUMN_METHOD);
	const char *line = transfer_column(transfer, COLUMN_HEADERS);
	bool done = true;

	for (; done && *line != '\0'; line += line[0] == '\n')
	{
		size_t length = strcspn(line, "\n");

		done = add_header(transfer, line, length);
		line += length;
	}
	if (transfer->kind == KIND_MEDIA)
		prepare_media(transfer);
	else if (strcmp(method, "MULTIPART") == 0)
		done = done && add_header(transfer, "Expect:", 7) &&
			   form_prepare(easy,
							transfer->body,
							transfer->body_length,
							&transfer->form);
	else if (strcmp(method, "GET") != 0)
		done = done && prepare_body(transfer, method);
	return done &&
		   curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers) ==
			   CURLE_OK;
}

static bool
prepare_body(Transfer *transfer, const char *method)
{
	CURL *easy = transfer->easy;

	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy,
					 CURLOPT_POSTFIELDSIZE_LARGE,
					 (curl_off_t) transfer->body_length);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_body);
	curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, rewind_body);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, transfer);
	return add_header(transfer, "Expect:", 7) &&
		   curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
}

/*
 * Providers redirect to where they keep the file. libcurl sends the header
 * Authorization to no other host, but would send any other header; and
 * open_socket() sees each address.
 */
static void
prepare_media(Transfer *transfer)
{
	const char *auth = transfer_column(transfer, COLUMN_AUTH);
	const char *url = transfer_column(transfer, COLUMN_URL);
	bool follows = strcmp(auth, "none") == 0 || strcmp(auth, "basic") == 0 ||
				   strcmp(auth, "bearer") == 0;
	bool secure = strncasecmp(url, "https:", 6) == 0;

	curl_easy_setopt(transfer->easy, CURLOPT_FOLLOWLOCATION, (long) follows);
	curl_easy_setopt(transfer->easy, CURLOPT_MAXREDIRS, 5L);
	curl_easy_setopt(transfer->easy,
					 CURLOPT_REDIR_PROTOCOLS_STR,
					 secure ? "https" : "http,https");
}

/* A mail server may need no password; a provider always needs its secret. */
static bool
set_secret(Transfer *transfer, const Config *config)
{
	const char *name = transfer_column(transfer, COLUMN_SECRET_NAME);
	Text secret = {0};
	bool done;

	if (strcmp(transfer_column(transfer, COLUMN_AUTH), "none") == 0)
		return true;
	text_add_string(&secret, transfer_column(transfer, COLUMN_SECRET));
	if (secret.length == 0 && !secret_find(config, name, &secret))
	{
		if (!is_mail(transfer))
			text_addf(&transfer->failure, "secret \"%s\" is missing", name);
		return is_mail(transfer);
	}
	done = !secret.failed && use_secret(transfer, secret.data);
	secret_free(&secret);
	return done;
}

/* A password for a mail server is never sent without TLS. */
static bool
use_secret(Transfer *transfer, const char *secret)
{
	const char *auth = transfer_column(transfer, COLUMN_AUTH);
	Text line = {0};
	bool done;

	if (strpbrk(secret, "\r\n") != NULL)
		return false;
	if (is_mail(transfer))
		curl_easy_setopt(transfer->easy,
						 CURLOPT_USE_SSL,
						 (long) CURLUSESSL_ALL);
	if (strcmp(auth, "basic") == 0)
	{
		curl_easy_setopt(transfer->easy,
						 CURLOPT_HTTPAUTH,
						 (long) CURLAUTH_BASIC);
		return curl_easy_setopt(transfer->easy, CURLOPT_USERPWD, secret) ==
			   CURLE_OK;
	}
	if (strcmp(auth, "bearer") == 0)
		text_addf(&line, "Authorization: Bearer %s", secret);
	else
		text_addf(&line, "%s: %s", auth, secret);
	done = !line.failed && add_header(transfer, line.data, line.length);
	secret_free(&line);
	return done;
}

static bool
add_header(Transfer *transfer, const char *line, size_t length)
{
	Text copy = {0};
	struct curl_slist *longer = NULL;

	text_add(&copy, line, length);
	if (!copy.failed && copy.data != NULL)
		longer = curl_slist_append(transfer->headers, copy.data);
	text_free(&copy);
	if (longer != NULL)
		transfer->headers = longer;
	return longer != NULL;
}

static size_t
read_body(char *buffer, size_t size, size_t count, void *data)
{
	Transfer *transfer = data;
	size_t left = transfer->body_length - transfer->body_read;
	size_t length = size * count < left ? size * count : left;

	memcpy(buffer, transfer->body + transfer->body_read, length);
	transfer->body_read += length;
	return length;
}

static int
rewind_body(void *data, curl_off_t offset, int origin)
{
	Transfer *transfer = data;

	return origin == SEEK_SET && offset == 0 && transfer->body_read == 0
			   ? CURL_SEEKFUNC_OK
			   : CURL_SEEKFUNC_FAIL;
}

/* The headers of the last answer only: those of 100 Continue do not count. */
static size_t
keep_header(char *bytes, size_t size, size_t count, void *data)
{
	Transfer *transfer = data;

	if (size * count > 5 && strncasecmp(bytes, "HTTP/", 5) == 0)
		transfer->answer_headers.length = 0;
	return keep(&transfer->answer_headers, bytes, size * count);
}

static size_t
keep_body(char *bytes, size_t size, size_t count, void *data)
{
	Transfer *transfer = data;
	size_t length = size * count;

	if (transfer->kind != KIND_MEDIA || !is_success(transfer))
		return keep(&transfer->answer_body, bytes, length);
	/* A file is not cut. */
	transfer->too_large =
		transfer->answer_body.length + length > transfer->file_bytes_max;
	if (!transfer->too_large)
		text_add(&transfer->answer_body, bytes, length);
	return transfer->too_large || transfer->answer_body.failed
			   ? CURL_WRITEFUNC_ERROR
			   : length;
}

static bool
is_success(const Transfer *transfer)
{
	long status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status <= 299;
}

/* What exceeds the limit is read and dropped: the answer counts all the same.
 */
static size_t
keep(Text *text, const char *bytes, size_t length)
{
	size_t room =
		text->length < ANSWER_BYTES_MAX ? ANSWER_BYTES_MAX - text->length : 0;

	text_add(text, bytes, length < room ? length : room);
	return length;
}

/* After the name was resolved, so that no name can lead to a private address.
 */
static curl_socket_t
open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
	Transfer *transfer = data;

	(void) purpose;
	if (!transfer->allow_private && is_private(&address->addr))
	{
		if (transfer->failure.length == 0)
			text_add_string(&transfer->failure,
							"the address is private; use --allow-private: ");
		return CURL_SOCKET_BAD;
	}
	return socket(address->family,
				  address->socktype | SOCK_CLOEXEC,
				  address->protocol);
}

static bool
is_private(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET)
	{
		struct sockaddr_in peer;

		memcpy(&peer, address, sizeof(peer));
		return is_private4(ntohl(peer.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6)
	{
		struct sockaddr_in6 peer;
		const uint8_t *bytes = peer.sin6_addr.s6_addr;
		uint32_t last;

		memcpy(&peer, address, sizeof(peer));
		memcpy(&last, bytes + 12, sizeof(last));
		if (IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr) ||
			IN6_IS_ADDR_V4COMPAT(&peer.sin6_addr))
			return is_private4(ntohl(last));
		/* 64:ff9b::/96 reaches IPv4 by a translator, 2002::/16 by a relay. */
		if (memcmp(bytes, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0", 12) == 0)
			return is_private4(ntohl(last));
		if (memcmp(bytes, "\x20\x02", 2) == 0)
		{
			memcpy(&last, bytes + 2, sizeof(last));
			return is_private4(ntohl(last));
		}
		/* Local translators (RFC 8215); Teredo, which disguises IPv4. */
		if (memcmp(bytes, "\0\x64\xff\x9b\0\x01", 6) == 0 ||
			memcmp(bytes, "\x20\x01\0\0", 4) == 0)
			return true;
		return IN6_IS_ADDR_UNSPECIFIED(&peer.sin6_addr) ||
			   IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr) ||
			   IN6_IS_ADDR_LINKLOCAL(&peer.sin6_addr) ||
			   IN6_IS_ADDR_SITELOCAL(&peer.sin6_addr) ||
			   IN6_IS_ADDR_MULTICAST(&peer.sin6_addr) ||
			   (bytes[0] & 0xfe) == 0xfc;
	}
	return true;
}

/* What the registry of special addresses (RFC 6890) does not give to everyone.
 */
static bool
is_private4(uint32_t host)
{
	static const struct
	{
		uint32_t network;
		int bits;
	} networks[] = {{0x00000000, 8},
					{0x0a000000, 8},
					{0x64400000, 10},
					{0x7f000000, 8},
					{0xa9fe0000, 16},
					{0xac100000, 12},
					{0xc0000000, 24},
					{0xc0a80000, 16},
					{0xc6120000, 15},
					{0xe0000000, 3}};

	for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
	{
		if ((host ^ networks[i].network) >> (32 - networks[i].bits) == 0)
			return true;
	}
	return false;
}

static bool
is_mail(const Transfer *transfer)
{
	return strcmp(transfer_column(transfer, COLUMN_METHOD), "MAIL") == 0;
}

static void
release(Transfer *transfer, CURLM *multi)
{
	if (transfer->easy != NULL && multi != NULL)
		curl_multi_remove_handle(multi, transfer->easy);
	if (transfer->easy != NULL)
	{
		curl_easy_cleanup(transfer->easy);
		transfer->ended_us = clock_us();
	}
	transfer->easy = NULL;
	mail_free(&transfer->mail);
	curl_mime_free(transfer->form);
	transfer->form = NULL;
	curl_slist_free_all(transfer->headers);
	transfer->headers = NULL;
}

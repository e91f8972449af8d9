/*
 * tls.c: the server's certificate and the accepted versions and ciphers of TLS.
 *
 * The listener keeps one context. A callback chooses the certificate at each
 * handshake, so the next connection gets a reloaded certificate, while open
 * connections and handshakes in progress keep the old one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "http/tls.h"

/*
 * Of TLS 1.2: key exchanges with forward secrecy only, so that a stolen key
 * does not decrypt recorded connections, and authenticated encryption. All
 * ciphers of TLS 1.3 are like that.
 */
#define CIPHERS_12 "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20"

struct Tls
{
	SSL_CTX *context;

	pthread_mutex_t mutex; /* guards the member below */
	SSL_CTX *shown;		   /* holds certificate, chain and key only */
};

static SSL_CTX *read_files(const Config *config, Text *error);
static bool is_readable(const char *what, const char *file, Text *error);
static void explain(Text *error, const char *format, const char *file);
static int refuse_password(char *buffer, int size, int writing, void *data);
static int show_certificate(SSL *ssl, void *argument);

Tls *
tls_create(const Config *config, Text *error)
{
	Tls *tls = calloc(1, sizeof(*tls));

	if (tls == NULL)
	{
		text_add_string(error, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&tls->mutex, NULL);
	tls->shown = read_files(config, error);
	if (tls->shown == NULL)
	{
		tls_free(tls);
		return NULL;
	}
	tls->context = SSL_CTX_new(TLS_server_method());
	if (tls->context == NULL ||
		SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_cipher_list(tls->context, CIPHERS_12) != 1 ||
		SSL_CTX_set_dh_auto(tls->context, 1) != 1)
	{
		explain(error, "could not start TLS%s", "");
		tls_free(tls);
		return NULL;
	}
	/* Renegotiation would let a client make the server do expensive work. */
	SSL_CTX_set_options(tls->context,
						SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
							SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_cert_cb(tls->context, show_certificate, tls);
	return tls;
}

void
tls_free(Tls *tls)
{
	SSL_CTX_free(tls->context);
	SSL_CTX_free(tls->shown);
	pthread_mutex_destroy(&tls->mutex);
	free(tls);
}

bool
tls_reload(Tls *tls, const Config *config, Text *error)
{
	SSL_CTX *fresh = read_files(config, error);
	SSL_CTX *old;

	if (fresh == NULL)
		return false;
	pthread_mutex_lock(&tls->mutex);
	old = tls->shown;
	tls->shown = fresh;
	pthread_mutex_unlock(&tls->mutex);
	SSL_CTX_free(old);
	return true;
}

void *
tls_context(Tls *tls)
{
	return tls->context;
}

static SSL_CTX *
read_files(const Config *config, Text *error)
{
	SSL_CTX *files;

	if (!is_readable("certificate", config->tls_cert, error) ||
		!is_readable("key", config->tls_key, error))
		return NULL;
	files = SSL_CTX_new(TLS_server_method());
	if (files == NULL)
	{
		explain(error, "could not start TLS%s", "");
		return NULL;
	}
	SSL_CTX_set_default_passwd_cb(files, refuse_password);
	if (SSL_CTX_use_certificate_chain_file(files, config->tls_cert) != 1)
		explain(error,
				"TLS certificate \"%s\" cannot be used",
				config->tls_cert);
	else if (SSL_CTX_use_PrivateKey_file(files,
										 config->tls_key,
										 SSL_FILETYPE_PEM) != 1)
		explain(error,
				"TLS key \"%s\" cannot be used with this certificate",
				config->tls_key);
	else if (SSL_CTX_check_private_key(files) != 1)
		explain(error,
				"TLS key \"%s\" does not belong to the certificate",
				config->tls_key);
	else
		return files;
	SSL_CTX_free(files);
	return NULL;
}

static bool
is_readable(const char *what, const char *file, Text *error)
{
	char reason[128];

	if (access(file, R_OK) == 0)
		return true;
	text_addf(error,
			  "could not read TLS %s \"%s\": %s",
			  what,
			  file,
			  strerror_r(errno, reason, sizeof(reason)));
	return false;
}

/* Adds OpenSSL's message for the first error. */
static void
explain(Text *error, const char *format, const char *file)
{
	const char *reason = ERR_reason_error_string(ERR_get_error());
	char message[1024];

	snprintf(message, sizeof(message), format, file);
	text_addf(error,
			  "%s%s%s",
			  message,
			  reason ? ": " : "",
			  reason ? reason : "");
	ERR_clear_error();
}

/* There is nobody to ask for a password. */
static int
refuse_password(char *buffer, int size, int writing, void *data)
{
	(void) buffer;
	(void) size;
	(void) writing;
	(void) data;
	return -1;
}

static int
show_certificate(SSL *ssl, void *argument)
{
	Tls *tls = argument;
	STACK_OF(X509) *chain = NULL;
	SSL_CTX *shown;
	int done;

	pthread_mutex_lock(&tls->mutex);
	shown = tls->shown;
	SSL_CTX_up_ref(shown);
	pthread_mutex_unlock(&tls->mutex);
	SSL_CTX_get0_chain_certs(shown, &chain);
	done = SSL_use_cert_and_key(ssl,
								SSL_CTX_get0_certificate(shown),
								SSL_CTX_get0_privatekey(shown),
								chain,
								1);
	SSL_CTX_free(shown);
	return done;
}

/*
 * tls_library.c: lets civetweb use the OpenSSL that this program is linked to.
 *
 * civetweb loads OpenSSL only when TLS is used, under the file names libssl.so
 * and libcrypto.so, which only the development packages contain. In addition,
 * Debian's civetweb 1.15 looks up SSL_get_peer_certificate, a function that
 * OpenSSL 3 renamed; it does not notice that the function is missing and
 * crashes at the first connection. So the dlopen below gives it this program
 * instead of the two files: it contains everything, including the old name.
 * Both functions are found by the dynamic linker, so they must stay visible
 * even if everything else is hidden.
 *
 * Other file names are passed on to the dynamic linker.
 */
#include <dlfcn.h>
#include <string.h>

#include <openssl/ssl.h>

/* OpenSSL 3 defines it as a macro. */
#undef SSL_get_peer_certificate
#define VISIBLE __attribute__((visibility("default")))
VISIBLE X509 *SSL_get_peer_certificate(const SSL *ssl);
VISIBLE void *dlopen(const char *file, int mode);

X509 *
SSL_get_peer_certificate(const SSL *ssl)
{
	return SSL_get1_peer_certificate(ssl);
}

void *
dlopen(const char *file, int mode)
{
	if (file != NULL &&
		(strcmp(file, "libssl.so") == 0 || strcmp(file, "libcrypto.so") == 0))
		file = NULL;
	return dlmopen(LM_ID_BASE, file, mode);
}
